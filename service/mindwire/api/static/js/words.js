// Names and numbers as people read them, in the language of the page.

import { hasText, language, text } from "./texts.js";

/** @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/**
 * A number with that many digits after the decimal point.
 * @param {number} value
 * @param {number} digits
 */
export function fixed(value, digits) {
  const key = `${language()} ${digits}`;
  let format = formats.get(key);
  if (!format) formats.set(key, (format = new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false })));
  return format.format(value);
}

/** A number of minutes, with their name. @param {number} seconds */
export const minutesOf = (seconds) =>
  new Intl.NumberFormat(language(), { style: "unit", unit: "minute", unitDisplay: "long", maximumFractionDigits: seconds < 120 ? 1 : 0 }).format(seconds / 60);

/**
 * ``two_words`` → ``two words``.
 * @param {string} name
 */
export const words = (name) => name.replaceAll("_", " ");

/**
 * The text of a code of the service, its words where the page has none.
 * @param {string} group of texts: ``class``, ``reason``, ``state`` …
 * @param {string} code
 */
export const coded = (group, code) => (hasText(`${group}.${code}`) ? text(`${group}.${code}`) : words(code));

/**
 * The name of a class: ``left_hand`` → ``left hand``.
 * @param {string} name
 */
export const className = (name) => coded("class", name);

/**
 * Reasons of a prediction, as the page names them.
 * @param {string[]} reasons
 */
export const reasonsText = (reasons) => reasons.map((reason) => coded("reason", reason)).join(", ");

/**
 * A marker in words: those of a paradigm, the names of classes, and others as they are.
 * @param {string} label
 */
export function markerText(label) {
  const [kind, ...rest] = label.split(" ");
  if (hasText(`marker.${kind}`)) return text(`marker.${kind}`, { rest: words(rest.join(" ")) });
  if (kind.startsWith("practice_")) return text("marker.practice", { rest: className(kind.slice("practice_".length)) });
  return className(label);
}

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
export const ago = (seconds) => (seconds < 10 ? `${fixed(seconds, 1)} s` : seconds < 100 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`);

/** @param {string} unit */
export const unitText = (unit) => (unit === "uV" ? "µV" : unit);

/** @param {number} value */
export const ms = (value) => fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0);

/** @param {number} value */
export const count = (value) => value.toLocaleString(language());

/**
 * A size: ``12 MB``, ``3.4 GB``.
 * @param {number} value in bytes
 */
export const bytes = (value) => (value < 1e9 ? `${fixed(value / 1e6, 0)} MB` : `${fixed(value / 1e9, value < 1e11 ? 1 : 0)} GB`);

/** @param {number} unixTime */
export const clockTime = (unixTime) => new Date(unixTime * 1000).toLocaleTimeString("en-GB");

/**
 * A signed number with a real minus sign, which zero has not.
 * @param {number} value
 * @param {number} digits
 */
export const signed = (value, digits) => `${value < 0 && Number(value.toFixed(digits)) !== 0 ? "−" : ""}${fixed(Math.abs(value), digits)}`;

/**
 * @param {ArrayLike<number>} sorted
 * @param {number} q
 */
export function quantile(sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
