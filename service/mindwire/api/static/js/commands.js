// Commands of a person to the service, and what the token allows.

import { part } from "./dom.js";
import { Refused, Unauthorised, get } from "./service.js";
import { text } from "./texts.js";

/** @typedef {(place: HTMLElement, act: () => Promise<unknown>) => Promise<void>} Command ``place`` has an element of class ``problem`` */

const CHANGES = "[data-changes]";

/** @typedef {HTMLElement & {disabled: boolean}} Changing */

/** @param {ParentNode} root */
const changing = (root) => /** @type {NodeListOf<Changing>} */ (root.querySelectorAll(CHANGES));

export class Commands {
  #dialog;
  #after;
  #mayChange = true;

  /**
   * @param {import("./token.js").TokenDialog} dialog
   * @param {() => Promise<void>} after called once a command was carried out or refused
   */
  constructor(dialog, after) {
    this.#dialog = dialog;
    this.#after = after;
  }

  /**
   * Carry out a command: its buttons rest meanwhile, a refusal is shown in the service's words.
   * @type {Command}
   */
  run = async (place, act) => {
    const problem = part(place, ".problem");
    problem.hidden = true;
    place.setAttribute("aria-busy", "true");
    for (const one of changing(place)) one.disabled = true;
    try {
      await act();
    } catch (error) {
      if (error instanceof Unauthorised) this.#dialog.ask();
      problem.textContent = error instanceof Refused || error instanceof Unauthorised ? error.message : text("system.unanswered");
      problem.hidden = false;
    } finally {
      place.removeAttribute("aria-busy");
      for (const one of changing(place)) one.disabled = !this.#mayChange;
    }
    await this.#after();
  };

  /** Ask what the token allows; what it does not is disabled, and a sentence says why. */
  async showRights() {
    this.#mayChange = (await get("/v1/access")).control;
    part(document, "#read-only").hidden = this.#mayChange;
    for (const one of changing(document)) {
      if (one.closest("[aria-busy]")) continue;
      one.disabled = !this.#mayChange;
      if (this.#mayChange) one.removeAttribute("aria-describedby");
      else one.setAttribute("aria-describedby", "read-only");
    }
  }
}
