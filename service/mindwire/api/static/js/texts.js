// The sentences and words of the pages, in the chosen language. Each is in texts/en and texts/de under the same key.

import de from "./texts/de.js";
import en from "./texts/en.js";

/** @typedef {"en" | "de"} Language */
/** @typedef {Record<string, string>} Texts */

/** @type {Record<Language, Texts>} */
const DICTIONARIES = { en, de };
const KEPT_AS = "mindwire-language";

/** @type {Language} */
let chosen = document.documentElement.lang === "de" ? "de" : "en";

/** @returns {Language} */
export const language = () => chosen;

/**
 * Choose the language, for this and all later pages. What is on the page already changes with ``applyTexts``.
 * @param {Language} value
 */
export function setLanguage(value) {
  chosen = value;
  localStorage.setItem(KEPT_AS, value);
  document.documentElement.lang = value;
}

/**
 * True where there is a text of that key: for codes of the service, which may be newer than the page.
 * @param {string} key
 */
export const hasText = (key) => Object.hasOwn(DICTIONARIES[chosen], key);

/**
 * The text of a key, with ``{name}`` replaced by the values of that name.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function text(key, values = {}) {
  const found = DICTIONARIES[chosen][key];
  if (found === undefined) {
    console.error(`There is no text ${key} in ${chosen}.`);
    return key;
  }
  return found.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * The text of ``key.one`` or ``key.other``, by the number ``n``, which is a value of it.
 * @param {string} key
 * @param {number} n
 * @param {Record<string, string | number>} [values]
 */
export const plural = (key, n, values = {}) => text(`${key}.${n === 1 ? "one" : "other"}`, { n: n.toLocaleString(chosen), ...values });

/**
 * Fill in elements: ``data-text`` is the key of the content, ``data-text-label`` of the accessible name,
 * ``data-text-title`` of the title and ``data-text-placeholder`` of the placeholder.
 * @param {ParentNode} root
 */
export function applyTexts(root) {
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-text]"))) node.textContent = text(node.dataset.text ?? "");
  for (const [name, attribute] of /** @type {const} */ ([["Label", "aria-label"], ["Title", "title"], ["Placeholder", "placeholder"]])) {
    const selector = `[data-text-${name.toLowerCase()}]`;
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll(selector))) node.setAttribute(attribute, text(node.dataset[`text${name}`] ?? ""));
  }
}
