/** @type {import("../../texts.js").Texts} */
export default {
  "participant.title": "Teilnehmende Person",
};
