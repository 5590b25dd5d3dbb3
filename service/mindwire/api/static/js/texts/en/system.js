/** @type {import("../../texts.js").Texts} */
export default {};
