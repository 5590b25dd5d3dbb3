// What stands on the screen while nothing is played: why, what to do, and the button that goes on.

import { write } from "../dom.js";
import { scoreOf } from "../task.js";
import { hasText, text } from "../texts.js";

const GO = new Set(["ready", "paused", "interrupted", "stopped", "break", "refused"]);

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @typedef {{task: import("../task.js").TaskState, refusal: string, unpaused: string, stream: string}} Facts
 *   ``unpaused`` is why decisions could not be paused. */

export class Messages {
  #go = /** @type {HTMLButtonElement} */ (part("go"));

  /** @param {() => void} go called when the person wants to begin or go on */
  constructor(go) {
    this.#go.addEventListener("click", go);
  }

  get canGo() {
    return !this.#go.hidden;
  }

  /** @param {string} why as a key @param {Facts} facts */
  show(why, { task, refusal, unpaused, stream }) {
    document.body.dataset.shown = why;
    const paradigm = task.state === "none" ? null : task.paradigm;
    const instructs = why === "ready" && paradigm;
    write(part("message-title"), instructs ? titleOf(paradigm) : text(`participant.${why}.title`));
    write(part("message-text"), instructs ? instructionOf(paradigm) : sentenceOf(why, { task, refusal, unpaused, stream }));
    this.#go.hidden = !GO.has(why);
    write(/** @type {HTMLElement} */ (this.#go.querySelector("span")), text(why === "ready" ? "participant.begin" : "participant.continue"));
    const back = /** @type {HTMLAnchorElement} */ (part("back"));
    back.href = `/session#${encodeURIComponent(stream)}`;
    if (!this.#go.hidden && document.activeElement === document.body) this.#go.focus();
  }
}

/** @param {import("../task.js").Paradigm} paradigm */
export const titleOf = ({ name, title }) => (hasText(`paradigm.${name}.title`) ? text(`paradigm.${name}.title`) : (title ?? name));

/** @param {import("../task.js").Paradigm} paradigm */
const instructionOf = ({ name, instruction }) => (hasText(`paradigm.${name}.instruction`) ? text(`paradigm.${name}.instruction`) : (instruction ?? ""));

/** @param {string} why as a key @param {Facts} facts */
function sentenceOf(why, { task, refusal, unpaused }) {
  if (why === "done") return summary(task);
  if (why === "refused") return refusal;
  if (why === "stopped" && unpaused) return text("participant.stopped.unpaused", { why: unpaused });
  if (why === "paused" && task.problem) return text(`participant.problem.${task.problem}`);
  return text(`participant.${why}.text`);
}

/** @param {import("../task.js").TaskState} task */
function summary(task) {
  const { decided, right, attempts, reached } = scoreOf(task);
  if (decided) return text("participant.done.score", { right, n: decided });
  if (attempts) return text("participant.done.targets", { reached, n: attempts });
  return text("participant.done.text");
}
