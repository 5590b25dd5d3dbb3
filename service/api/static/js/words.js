// Names and numbers as people read them.

/** ``left_hand`` → ``left hand``. */
export const words = (name) => name.replaceAll("_", " ");

export const unitText = (unit) => (unit === "uV" ? "µV" : unit);

export const ms = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

export const count = (value) => value.toLocaleString("en");

export const clockTime = (unixTime) => new Date(unixTime * 1000).toLocaleTimeString("en-GB");

export function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
