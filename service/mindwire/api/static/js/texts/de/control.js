/** @type {import("../../texts.js").Texts} */
export default {
  "control.title": "Steuerung",
};
