// Names and numbers as people read them.

/**
 * ``left_hand`` → ``left hand``.
 * @param {string} name
 */
export const words = (name) => name.replaceAll("_", " ");

/** @type {Record<string, string>} */
const REASONS = {
  aligning: "learning this signal",
  settling: "filters settling",
  gap: "gap in the signal",
  reconnect: "reconnected",
  flat: "flat channel",
  saturated: "saturated channel",
  amplitude: "implausible amplitude",
  non_finite: "values that are not numbers",
  rate: "sampling rate slightly off",
  wrong_rate: "time stamps contradict the sampling rate",
  decoder: "the model gives no numbers",
  no_model: "there is no model yet",
};

/**
 * Reasons of a prediction, as the page names them.
 * @param {string[]} reasons
 */
export const reasonsText = (reasons) => reasons.map((reason) => REASONS[reason] ?? words(reason)).join(", ");

const SHAPES = ["●", "■", "▲", "◆", "▼", "★"];

/**
 * The shape that stands for a class beside its colour.
 * @param {number} index
 */
export const shape = (index) => SHAPES[index % SHAPES.length];

/** @param {number} value */
export const percent = (value) => `${(value * 100).toFixed(0)} %`;

/**
 * A duration as people read it: ``0.4 s``, ``12 s``, ``3 min``.
 * @param {number} seconds
 */
export const ago = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : seconds < 100 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`);

/** @param {string} unit */
export const unitText = (unit) => (unit === "uV" ? "µV" : unit);

/** @param {number} value */
export const ms = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

/** @param {number} value */
export const count = (value) => value.toLocaleString("en");

/** @param {number} unixTime */
export const clockTime = (unixTime) => new Date(unixTime * 1000).toLocaleTimeString("en-GB");

/**
 * A signed number with a real minus sign, which zero has not.
 * @param {number} value
 * @param {number} digits
 */
export const signed = (value, digits) => value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "");

/**
 * @param {ArrayLike<number>} sorted
 * @param {number} q
 */
export function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
