/** @type {import("../../texts.js").Texts} */
export default {
  "participant.title": "Participant",
};
