// Stop: ends what is shown at once, then pauses decisions and the task, as soon as the service can be reached.

import { Refused, send } from "../service.js";
import { deliver } from "../task.js";

const NO_POLICY = 409;

export class Stop {
  #address;
  #around;
  /** True from the key or click on, until the person goes on. */
  active = false;
  /** True while the service decides nothing. */
  paused = false;
  /** Why decisions could not be paused, as a sentence; empty if they could. */
  problem = "";
  /** The pause under way. */
  #pausing = Promise.resolve();
  #ending = false;
  #generation = 0; // a pause that is still being retried must not arrive after the person went on

  /**
   * @param {string} address of the stream
   * @param {{pause: () => Promise<void>, halt: () => void, show: () => void}} around ``pause`` pauses the task, ``halt`` ends what is shown
   */
  constructor(address, around) {
    this.#address = address;
    this.#around = around;
  }

  now() {
    if (this.active && !this.#ending) return;
    this.active = true;
    this.#ending = false;
    this.#around.halt();
    this.#around.show();
    this.#pausing = this.#pause();
    this.#around.pause();
  }

  async #pause() {
    this.#generation += 1;
    const generation = this.#generation;
    this.problem = "";
    try {
      await deliver(() => this.#control("pause"), () => generation === this.#generation);
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.#around.show();
    }
  }

  /** Go on; false if it was stopped again meanwhile. @param {boolean} control decide again, also where someone else has paused it */
  async end(control) {
    if (this.#ending) return false; // that is under way
    if (this.active || (control && this.paused)) {
      this.#ending = true;
      this.#generation += 1;
      const generation = this.#generation;
      await this.#pausing;
      if (generation !== this.#generation) return false;
      try {
        await this.#control("resume");
      } catch (error) {
        if (this.active && generation === this.#generation) this.#pausing = this.#pause();
        throw error;
      } finally {
        this.#ending = false;
      }
      if (generation !== this.#generation) {
        this.#pausing = this.#pause(); // the resume may have arrived after it
        return false;
      }
    }
    this.active = false;
    this.problem = "";
    return true;
  }

  /** @param {"pause" | "resume"} what */
  async #control(what) {
    try {
      await send("POST", `${this.#address}/control/${what}`);
    } catch (error) {
      if (!(error instanceof Refused && error.status === NO_POLICY)) throw error; // there is no policy: nothing is decided anyway
    }
  }
}
