// Names and numbers as people read them.

/** ``left_hand`` → ``left hand``. */
export const words = (name) => name.replaceAll("_", " ");

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
};

/** Reasons of a prediction, as the page names them. */
export const reasonsText = (reasons) => reasons.map((reason) => REASONS[reason] ?? words(reason)).join(", ");

export const unitText = (unit) => (unit === "uV" ? "µV" : unit);

export const ms = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

export const count = (value) => value.toLocaleString("en");

export const clockTime = (unixTime) => new Date(unixTime * 1000).toLocaleTimeString("en-GB");

/** A signed number with a real minus sign. */
export const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

export function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
