// The decision of a feedback trial, and what the feedback shows meanwhile.
//
// Rule, as of ``mindwire evaluate``: the newest prediction at the end of the imagery decides, whose window holds the most of it; the
// class of its highest probability is the answer. Classes that the paradigm does not cue take no part.

const MAX_AGE_S = 0.5; // of that prediction
const SMOOTH_S = 0.4; // time constant of what is shown: it glides, and cannot flicker
const FLOOR = 1e-6;

/** @typedef {{type: string, time: number, probabilities: number[], valid: boolean}} Prediction */

export class Evidence {
  /** @type {string[]} */
  #classes;
  /** @type {number[]} positions of the classes in a prediction; -1 for one that the model has not */
  #at = [];
  /** @type {Prediction[]} */
  #predictions = []; // of the trial, invalid ones too
  /** @type {number[]} probabilities among the cued classes, newest */
  #newest;
  /** @type {number[]} */
  shown;
  #shownAt = 0;

  /** @param {string[]} classes those of the paradigm @param {string[]} model those of the predictions, in their order */
  constructor(classes, model) {
    this.#classes = classes;
    this.#at = classes.map((label) => model.indexOf(label));
    this.#newest = this.#even();
    this.shown = this.#even();
  }

  /** True if the model tells at least two of the paradigm's classes apart. */
  get usable() {
    return this.#at.filter((at) => at >= 0).length >= 2;
  }

  #even() {
    const known = this.#at.filter((at) => at >= 0).length || 1;
    return this.#at.map((at) => (at >= 0 ? 1 / known : 0));
  }

  /** Begin a trial. @param {number} now milliseconds */
  begin(now) {
    this.#predictions = [];
    this.#newest = this.#even();
    this.shown = this.#even();
    this.#shownAt = now;
  }

  /** @param {Prediction} prediction */
  add(prediction) {
    if (!this.usable) return;
    this.#predictions.push(prediction);
    if (prediction.valid) this.#newest = this.#among(prediction);
  }

  /** Probabilities among the cued classes. @param {Prediction} prediction */
  #among({ probabilities }) {
    const chosen = this.#at.map((at) => (at >= 0 ? Math.max(FLOOR, probabilities[at] || 0) : 0));
    const sum = chosen.reduce((total, value) => total + value, 0);
    return chosen.map((value) => value / sum);
  }

  /** Let what is shown follow the newest prediction. @param {number} now milliseconds */
  glide(now) {
    const share = 1 - Math.exp(-(now - this.#shownAt) / 1000 / SMOOTH_S);
    this.#shownAt = now;
    this.shown = this.shown.map((value, at) => value + share * (this.#newest[at] - value));
  }

  /**
   * What the trial's predictions say.
   *
   * @param {number} end LSL time of the end of the imagery, seconds
   * @returns {{class: string | null, probabilities: Record<string, number>, time: number | null}} ``time`` of the prediction that decides;
   *   no class where that is invalid or older than half a second
   */
  result(end) {
    const newest = this.#predictions.findLast(({ time }) => time <= end);
    if (!newest?.valid || newest.time < end - MAX_AGE_S) return { class: null, probabilities: {}, time: null };
    const shares = this.#among(newest).map((value) => Number(value.toFixed(4)));
    return {
      class: this.#classes[shares.indexOf(Math.max(...shares))],
      probabilities: Object.fromEntries(this.#classes.map((label, at) => [label, shares[at]])),
      time: newest.time,
    };
  }
}
