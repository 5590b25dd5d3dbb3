/** @type {import("../../texts.js").Texts} */
export default {
  "session.title": "Sitzung",
};
