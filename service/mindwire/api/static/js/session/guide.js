// What to do next, as a sentence and a button, and how far the session is.

import { write } from "../dom.js";
import { text } from "../texts.js";
import { WAY, nextStep, stepsDone } from "./next_step.js";

/**
 * @typedef {import("./next_step.js").Act} Act
 * @typedef {import("./next_step.js").Facts} Facts
 * @typedef {import("./next_step.js").Next} Next
 */

export class Guide {
  #act;
  #skip;
  /** @type {Next | null} */
  #next = null;
  #button = /** @type {HTMLButtonElement} */ (document.getElementById("guide-act"));
  #skipButton = /** @type {HTMLButtonElement} */ (document.getElementById("guide-skip"));
  #steps = /** @type {HTMLElement} */ (document.getElementById("guide-steps"));

  /** @param {(act: Act) => void} act @param {(step: string) => void} skip */
  constructor(act, skip) {
    this.#act = act;
    this.#skip = skip;
    this.#button.addEventListener("click", () => this.go());
    this.#skipButton.addEventListener("click", () => this.#next?.skip && this.#skip(this.#next.skip));
    this.#steps.replaceChildren(...WAY.map((step) => Object.assign(document.createElement("li"), { textContent: text(`session.way.${step}`) })));
  }

  /** Do what is proposed. */
  go() {
    if (this.#next?.act && !this.#button.disabled) this.#act(this.#next.act);
  }

  /** @param {Facts} facts */
  show(facts) {
    const next = nextStep(facts);
    const { key, values, act, skip, at } = next;
    this.#next = next;
    write(/** @type {HTMLElement} */ (document.getElementById("guide-title")), text(`session.next.${key}.title`, values));
    write(/** @type {HTMLElement} */ (document.getElementById("guide-text")), text(`session.next.${key}.text`, values));
    this.#button.hidden = !act;
    if (act) write(/** @type {HTMLElement} */ (this.#button.querySelector("span")), text(`session.act.${key === "finished" ? "again" : act}`));
    this.#skipButton.hidden = !skip;
    if (skip) write(this.#skipButton, text(key === "poor" ? "session.act.use_anyway" : key === "electrodes" ? "session.act.go_on" : "session.act.skip"));
    const done = stepsDone(facts);
    WAY.forEach((step, n) => {
      const item = /** @type {HTMLElement} */ (this.#steps.children[n]);
      item.dataset.step = done[step] ? "done" : step === at ? "now" : "ahead";
      if (step === at) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
  }
}
