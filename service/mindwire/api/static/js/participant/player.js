// Plays the steps of one trial after another, in the frames of the window: a step begins in the frame that shows it, and its
// marker carries the time at which that frame is presented.

import { Board } from "./board.js";
import { COUNTDOWN, isPractice, stepsOf } from "./steps.js";

/**
 * @typedef {import("./steps.js").Trial} Trial
 * @typedef {import("./steps.js").Step} Step
 * @typedef {import("./steps.js").Paradigm} Paradigm
 * @typedef {{label: string, time: number, uncertainty_ms: number | null}} Sent
 * @typedef {{index: number, outcome: "done" | "aborted", onset: number | null, result: Record<string, unknown> | null}} Ended
 * @typedef {{stage: import("./stage.js").Stage, sound: import("./sound.js").Sound, mark: (label: string) => Promise<Sent>,
 *   send: (label: string) => void, caption: (step: Step | null, scene: import("./stage.js").Scene) => void, ended: (trial: Ended) => void}} Around
 *   ``mark`` sends a marker of the frame under way, ``send`` one of now; ``caption`` is called as a step begins.
 */

export class Player {
  /** @type {Around} */
  #around;
  /** @type {Paradigm | null} */
  #paradigm = null;
  /** @type {import("./evidence.js").Evidence | null} */
  #evidence = null;
  /** @type {Trial | null} */
  #trial = null;
  /** @type {Step[]} */
  #steps = [];
  #at = -1;
  #began = 0;
  /** @type {import("./stage.js").Scene} */
  #scene = { phase: "none", elapsed: 0 };
  /** @type {Promise<Sent | null> | null} the cue's or target's marker; null for one that could not be sent */
  #onset = null;
  /** @type {Promise<Sent | null> | null} */
  #end = null;
  /** @type {Record<string, unknown> | null} */
  #result = null;
  /** @type {number} */
  #generation = 0; // a trial that was aborted must not end later

  /** @param {Around} around */
  constructor(around) {
    this.#around = around;
  }

  /** @param {Paradigm} paradigm @param {import("./evidence.js").Evidence | null} evidence for feedback */
  use(paradigm, evidence) {
    this.#paradigm = paradigm;
    this.#evidence = evidence;
  }

  get busy() {
    return this.#trial !== null;
  }

  /** The step under way, and the seconds that it still takes. @param {number} now milliseconds */
  remaining(now) {
    const step = this.#steps[this.#at];
    return step ? { phase: step.phase, seconds: Math.max(0, step.seconds - (now - this.#began) / 1000) } : null;
  }

  /** Begin a trial in the next frame. @param {Trial} trial @param {boolean} countdown begin with time to get ready */
  begin(trial, countdown) {
    this.#trial = trial;
    this.#generation += 1;
    this.#steps = [...(countdown ? COUNTDOWN : []), ...stepsOf(/** @type {Paradigm} */ (this.#paradigm), trial)];
    this.#at = -1;
    this.#onset = this.#end = this.#result = null;
  }

  /** End the trial under way at once, as one that does not count; before its cue it has not begun. */
  abort() {
    const trial = this.#trial;
    if (!trial) return;
    const begun = this.#onset !== null;
    this.#clear();
    if (!begun) return;
    this.#around.send("trial_aborted");
    this.#around.ended({ index: trial.index, outcome: "aborted", onset: null, result: null });
  }

  #clear() {
    this.#generation += 1;
    this.#trial = null;
    this.#steps = [];
    this.#at = -1;
    this.#scene = { phase: "none", elapsed: 0 };
    this.#around.stage.show(this.#scene, performance.now());
    this.#around.caption(null, this.#scene);
  }

  /** @param {import("../../client.js").Prediction} prediction */
  predicted(prediction) {
    this.#evidence?.add(prediction);
  }

  /** @param {import("../../client.js").Decision} decision */
  decided(decision) {
    const { phase, board } = this.#scene;
    if (phase === "attempt" && board && !board.reached) board.move(decision.class);
  }

  /** Draw a frame. @param {number} now milliseconds, as requestAnimationFrame gives them */
  frame(now) {
    if (!this.#trial) return;
    const step = this.#steps[this.#at];
    const over = this.#scene.phase === "attempt" && this.#scene.board?.reached;
    if (!step || over || now - this.#began >= step.seconds * 1000) {
      this.#advance(now);
      return;
    }
    this.#scene.elapsed = (now - this.#began) / 1000;
    if (step.phase === "imagery" && this.#evidence) {
      this.#evidence.glide(now);
      this.#scene.shown = this.#evidence.shown;
    }
    if (step.phase === "attempt" || step.phase === "countdown" || (step.phase === "imagery" && this.#evidence)) this.#around.stage.show(this.#scene, now);
  }

  /** @param {number} now milliseconds */
  #advance(now) {
    const left = this.#steps[this.#at];
    this.#at += 1;
    const step = this.#steps[this.#at];
    if (!step) {
      this.#finish();
      return;
    }
    const marker = left?.phase === "attempt" ? this.#judgeAttempt(now) : step.marker;
    this.#began = now;
    this.#scene = this.#sceneOf(step, now);
    this.#around.stage.show(this.#scene, now);
    this.#around.caption(step, this.#scene);
    if (step.sound) this.#around.sound.play(step.sound);
    if (marker) this.#mark(step, marker, now);
  }

  /** @param {Step} step @param {string} label @param {number} now */
  #mark(step, label, now) {
    const sent = this.#around.mark(label).catch((error) => {
      console.info(String(error)); // the trial is reported all the same
      return null;
    });
    const isOnset = step.phase === "cue" || step.phase === "attempt" || step.phase === "rest" || step.phase === "eyes";
    if (isOnset) this.#onset = sent;
    if (step.phase === "cue") this.#evidence?.begin(now);
    if (label === "imagery_end") this.#end = sent;
  }

  /** @param {Step} step @param {number} now @returns {import("./stage.js").Scene} */
  #sceneOf(step, now) {
    /** @type {import("./stage.js").Scene} */
    const scene = { phase: step.phase, label: step.label, elapsed: 0, feedback: this.#paradigm?.feedback };
    if (step.phase === "attempt") scene.board = new Board(/** @type {Trial} */ (this.#trial).label, this.#paradigm?.moves);
    if (step.phase === "outcome") scene.board = this.#scene.board;
    if (step.phase === "imagery") scene.shown = this.#evidence?.shown;
    if (step.phase === "result") this.#judgeFeedback(scene, now);
    return scene;
  }

  /** The result needs the times of cue and end; they are known a frame or two after these, long before.
   * @param {import("./stage.js").Scene} scene @param {number} now */
  async #judgeFeedback(scene, now) {
    const generation = this.#generation;
    const [onset, end] = await Promise.all([this.#onset, this.#end]);
    if (generation !== this.#generation || !this.#evidence || !onset || !end) return;
    const found = this.#evidence.result(onset.time, end.time);
    const right = found.class === null ? null : found.class === scene.label;
    this.#result = { ...found, correct: right };
    Object.assign(scene, { right, answer: found.class });
    this.#around.stage.show(scene, now);
    this.#around.caption(this.#steps[this.#at], scene);
    if (right && !isPractice(this.#trial?.label ?? "")) this.#around.sound.play("right");
  }

  /** The marker of the end of an attempt. @param {number} now */
  #judgeAttempt(now) {
    const board = /** @type {Board} */ (this.#scene.board);
    this.#result = { reached: board.reached, seconds: Number(((now - this.#began) / 1000).toFixed(2)), decisions: board.decisions, wrong: board.wrong };
    return board.reached ? "reached" : "missed";
  }

  async #finish() {
    const trial = /** @type {Trial} */ (this.#trial);
    const result = this.#result;
    const onset = this.#onset;
    this.#clear();
    this.#around.ended({ index: trial.index, outcome: "done", onset: (await onset)?.time ?? null, result });
  }
}
