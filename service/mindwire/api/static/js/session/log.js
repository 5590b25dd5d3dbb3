// Markers and decisions as they come, newest first.

import { element } from "../dom.js";
import { hasText, text } from "../texts.js";
import { fixed, words } from "../words.js";

const SHOWN = 60;

/** The word for a class or marker. @param {string} label @returns {string} */
export const labelText = (label) => {
  const [word, ...rest] = label.split(" ");
  const known = hasText(`class.${word}`) ? `class.${word}` : hasText(`session.marker.${word}`) ? `session.marker.${word}` : "";
  if (word.startsWith("practice_")) return text("session.marker.practice", { class: labelText(word.slice("practice_".length)) });
  return [known ? text(known) : words(word), ...rest].join(" ");
};

export class Log {
  #list = /** @type {HTMLElement} */ (document.getElementById("log"));

  clear() {
    this.#list.replaceChildren(element("li", { class: "empty", text: text("session.log_empty") }));
  }

  /** @param {any} message of the stream: a marker, a cue or a decision */
  add(message) {
    this.#list.querySelector(".empty")?.remove();
    const decision = message.type === "decision";
    const label = decision ? message.class : message.data.label;
    const detail = decision ? `${(message.confidence * 100).toFixed(0)} %` : uncertaintyOf(message.data);
    const time = element("time", { text: new Date(message.unix_time ? message.unix_time * 1000 : Date.now()).toLocaleTimeString("en-GB") });
    const kind = element("span", { class: "kind", text: text(decision ? "session.log.decision" : "session.log.marker") });
    this.#list.prepend(element("li", { "data-kind": decision ? "decision" : "marker" }, time, kind, element("strong", { text: labelText(label) }), element("span", { class: "small", text: detail })));
    while (this.#list.children.length > SHOWN) this.#list.lastElementChild?.remove();
  }
}

/** @param {{uncertainty_ms?: number | null, source: string}} data */
const uncertaintyOf = ({ uncertainty_ms: uncertainty, source }) => (typeof uncertainty === "number" ? `± ${fixed(uncertainty, 1)} ms` : source);
