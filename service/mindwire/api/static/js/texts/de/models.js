/** @type {import("../../texts.js").Texts} */
export default {
  "models.title": "Modelle",
};
