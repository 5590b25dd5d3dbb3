// The next sensible step of a session, from what is known: a pure function, and the view of it.

import { write } from "../dom.js";
import { isOpen } from "../task.js";
import { text } from "../texts.js";

export const CALIBRATION_RUNS = 2;
/** The way from cap to control, as steps that are done or not. */
const WAY = /** @type {const} */ (["cap", "rest", "calibrate", "train", "live", "feedback", "improve", "control"]);

/**
 * @typedef {"show_connect" | "focus_participant" | "open_window" | "resume" | "rest" | "calibrate" | "feedback" | "control" | "train" | "improve" | "put_live" | "cancel"} Act
 * @typedef {{key: string, values?: Record<string, string | number>, act?: Act, skip?: string, at: (typeof WAY)[number]}} Next
 *   ``skip`` is the step to leave out.
 * @typedef {{rest: number, calibrations: number, feedbacks: number, controls: number, trainings: number, improvements: number}} Done
 * @typedef {{keepsNone: string, stream: string | null, state: string, reason: string, bad: string[], participant: string, task: import("../task.js").TaskState | null,
 *   job: {kind: string} | null, done: Done, offered: string | null, live: string | null, poor: boolean, trials: number, skipped: Set<string>, shown: boolean}} Facts
 *   ``offered`` and ``live`` are models of the participant: one that may be put live, one that is; ``shown`` is true if a
 *   participant page has been opened.
 */

/**
 * What to do next.
 *
 * @param {Facts} facts
 * @returns {Next}
 */
export function nextStep(facts) {
  const { keepsNone, stream, state, reason, bad, participant, task, skipped } = facts;
  if (keepsNone) return { key: "no_sessions", values: { reason: keepsNone }, at: "cap" };
  if (stream === null) return { key: "connect", act: "show_connect", at: "cap" };
  if (task && isOpen(task)) return duringTask(task, facts);
  if (facts.job) return { key: facts.job.kind === "improve" ? "improving" : "training", at: facts.job.kind === "improve" ? "improve" : "train" };
  if (["searching", "connecting", "lost", "failed", "stale"].includes(state)) return { key: "signal", values: { reason }, at: "cap" };
  if (bad.length && !skipped.has("electrodes")) return { key: "electrodes", values: { channels: bad.join(", ") }, skip: "electrodes", at: "cap" };
  if (!participant) return { key: "participant", act: "focus_participant", at: "cap" };
  return facts.live === null ? towardsModel(facts) : withModel(facts);
}

/** @param {import("../task.js").TaskState} task @param {Facts} facts @returns {Next} */
function duringTask({ state, paradigm }, { shown }) {
  const at = paradigm.kind === "rest" || paradigm.kind === "eyes" ? "rest" : paradigm.kind === "control" ? "control" : paradigm.feedback && paradigm.feedback !== "none" ? "feedback" : "calibrate";
  if (!shown) return { key: "open", act: "open_window", at };
  if (state === "running") return { key: "running", at };
  return { key: state, act: "resume", at };
}

/** @param {Facts} facts @returns {Next} */
function towardsModel({ done, offered, poor, trials, skipped }) {
  if (offered && !(poor && !skipped.has("poor"))) return { key: "put_live", values: { model: offered }, act: "put_live", at: "live" };
  if (offered) return { key: "poor", act: "calibrate", skip: "poor", at: "calibrate" };
  if (!done.rest && !skipped.has("rest")) return { key: "rest", act: "rest", skip: "rest", at: "rest" };
  if (done.calibrations < CALIBRATION_RUNS) return { key: "calibrate", values: { n: done.calibrations + 1, of: CALIBRATION_RUNS, trials }, act: "calibrate", at: "calibrate" };
  return { key: "train", act: "train", at: "train" };
}

/** @param {Facts} facts @returns {Next} */
function withModel({ done, offered, live, skipped }) {
  if (offered && offered !== live && !skipped.has(`offer ${offered}`)) return { key: "put_live", values: { model: offered }, act: "put_live", skip: `offer ${offered}`, at: "improve" };
  if (!done.feedbacks) return { key: "feedback", act: "feedback", at: "feedback" };
  if (done.improvements < done.feedbacks && !skipped.has(`improve ${done.feedbacks}`)) return { key: "improve", act: "improve", skip: `improve ${done.feedbacks}`, at: "improve" };
  if (!done.controls) return { key: "control", act: "control", at: "control" };
  return { key: "finished", act: "feedback", at: "control" };
}

/** The steps of the way that are done. @param {Facts} facts */
export function stepsDone({ stream, state, done, live, participant, bad, skipped }) {
  return {
    cap: stream !== null && (state === "live" || state === "settling") && participant !== "" && (!bad.length || skipped.has("electrodes")),
    rest: done.rest > 0,
    calibrate: done.calibrations >= CALIBRATION_RUNS,
    train: done.trainings > 0 || live !== null,
    live: live !== null,
    feedback: done.feedbacks > 0,
    improve: done.improvements > 0,
    control: done.controls > 0,
  };
}

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
