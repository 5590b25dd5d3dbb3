/** @type {import("../../texts.js").Texts} */
export default {
  "training.title": "Training",
};
