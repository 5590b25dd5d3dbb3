// The decision of a feedback trial, and what the feedback shows meanwhile.
//
// Rule: the newest prediction at the end of the imagery decides, as in ``mindwire evaluate``, for its window holds the most of it. Where
// windows are so short that the imagery holds several whole ones, those that follow one another without overlap, counted back from the
// end, decide together: by the mean of the logarithm of each class's probability. Classes that the paradigm does not cue take no part.

const MAX_AGE_S = 0.5; // of a prediction, at the time for which it stands
const TOLERANCE_S = 0.1; // times of cue and end are those of frames
const SMOOTH_S = 0.4; // time constant of what is shown: it glides, and cannot flicker
const FLOOR = 1e-6;

/** @typedef {{type: string, time: number, probabilities: number[], valid: boolean}} Prediction */

export class Evidence {
  /** @type {string[]} */
  #classes;
  /** @type {number[]} positions of the classes in a prediction; -1 for one that the model has not */
  #at = [];
  #windowS;
  /** @type {Prediction[]} */
  #predictions = []; // of the trial, invalid ones too
  /** @type {number[]} probabilities among the cued classes, newest */
  #newest;
  /** @type {number[]} */
  shown;
  #shownAt = 0;

  /** @param {string[]} classes those of the paradigm @param {string[]} model those of the predictions, in their order
   * @param {number} windowS length of a window, seconds */
  constructor(classes, model, windowS) {
    this.#classes = classes;
    this.#windowS = Math.max(windowS, MAX_AGE_S);
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

  /** The newest prediction at a time, if it is valid and not old. @param {number} time */
  #validAt(time) {
    const newest = this.#predictions.findLast((prediction) => prediction.time <= time);
    return newest?.valid && newest.time >= time - MAX_AGE_S ? newest : null;
  }

  /**
   * What the trial's predictions say.
   *
   * @param {number} onset LSL time of the cue, seconds
   * @param {number} end LSL time of the end of the imagery
   * @returns {{class: string | null, probabilities: Record<string, number>, time: number | null, windows: number}} ``time`` of the newest
   *   prediction that decides, and how many do; no class where the newest is invalid or older than half a second
   */
  result(onset, end) {
    const newest = this.#validAt(end);
    if (!newest) return { class: null, probabilities: {}, time: null, windows: 0 };
    const deciding = [newest];
    for (let time = end - this.#windowS; time - this.#windowS >= onset - TOLERANCE_S; time -= this.#windowS) {
      const earlier = this.#validAt(time);
      if (earlier) deciding.push(earlier);
    }
    const joint = this.#classes.map(() => 0);
    for (const prediction of deciding) this.#among(prediction).forEach((p, at) => { joint[at] += Math.log(Math.max(FLOOR, p)) / deciding.length; });
    const known = joint.map((value, at) => (this.#at[at] >= 0 ? Math.exp(value) : 0));
    const total = known.reduce((sum, value) => sum + value, 0);
    const shares = known.map((value) => Number((value / total).toFixed(4)));
    return {
      class: this.#classes[shares.indexOf(Math.max(...shares))],
      probabilities: Object.fromEntries(this.#classes.map((label, at) => [label, shares[at]])),
      time: newest.time,
      windows: deciding.length,
    };
  }
}
