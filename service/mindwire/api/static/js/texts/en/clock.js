/** @type {import("../../texts.js").Texts} */
export default {
  "clock.title": "Clock self-test",
};
