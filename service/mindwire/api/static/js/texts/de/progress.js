/** @type {import("../../texts.js").Texts} */
export default {
  "progress.title": "Verlauf",
};
