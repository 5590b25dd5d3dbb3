// Stop: ends what is shown at once, then pauses decisions and the task, as soon as the service can be reached.

import { Refused, send } from "../service.js";
import { deliver } from "../task.js";

export class Stop {
  #address;
  #around;
  /** True from the key or click on, until the person goes on. */
  active = false;
  /** True while the service decides nothing. */
  paused = false;

  /**
   * @param {string} address of the stream
   * @param {{pause: () => Promise<void>, halt: () => void, show: () => void}} around ``pause`` pauses the task, ``halt`` ends what is shown
   */
  constructor(address, around) {
    this.#address = address;
    this.#around = around;
  }

  now() {
    if (this.active) return;
    this.active = true;
    this.#around.halt();
    this.#around.show();
    deliver(() => this.#control("pause"));
    this.#around.pause();
  }

  /** Go on. @param {boolean} control decide again, also where someone else has paused it */
  async end(control) {
    if (this.active || (control && this.paused)) await this.#control("resume");
    this.active = false;
  }

  /** @param {"pause" | "resume"} what */
  async #control(what) {
    try {
      await send("POST", `${this.#address}/control/${what}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // there is no policy: nothing is decided anyway
    }
  }
}
