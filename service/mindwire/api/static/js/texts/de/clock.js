/** @type {import("../../texts.js").Texts} */
export default {
  "clock.title": "Selbsttest der Uhr",
};
