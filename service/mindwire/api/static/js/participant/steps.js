// The steps of one trial of a paradigm: what is shown, for how long, and the marker of the moment at which it appears.

/**
 * @typedef {"countdown" | "fixation" | "cue" | "imagery" | "pause" | "result" | "rest" | "eyes" | "break" | "attempt" | "outcome"} Phase
 * @typedef {{phase: Phase, seconds: number, marker?: string, label?: string, sound?: "ready" | "cue" | "end"}} Step
 *   ``seconds`` is the longest time of the step; ``sound`` is played as it begins.
 * @typedef {{index: number, label: string, pause_s?: number}} Trial one entry of a task's plan
 * @typedef {{name: string, title?: string, kind: "cued" | "rest" | "eyes" | "control", classes?: string[], trials_per_class?: number, practice?: number,
 *   fixation_s?: number, cue_s?: number, imagery_s?: number, pause_s?: number[], sound?: boolean, feedback?: "none" | "bar" | "cursor", seed?: number,
 *   duration_s?: number, instruction?: string, blocks?: {eyes: "open" | "closed", duration_s: number}[],
 *   moves?: import("./board.js").Moves, targets?: number, distance?: number, limit_s?: number, rest_s?: number}} Paradigm
 */

export const COUNTDOWN_S = 3;
const SETTLE_S = 0.3; // until the predictions of the imagery's last samples have come
const RESULT_S = 1.2;
const PRACTICE = "practice_";

/** The class of a cue's marker: those of practice have a prefix. @param {string} label */
export const classOf = (label) => (label.startsWith(PRACTICE) ? label.slice(PRACTICE.length) : label);

/** True for a trial that is not counted. @param {string} label */
export const isPractice = (label) => label.startsWith(PRACTICE);

/** Time to get ready, before the first trial and after each interruption. @type {Step[]} */
export const COUNTDOWN = [{ phase: "countdown", seconds: COUNTDOWN_S }];

/**
 * Steps of a trial, in order.
 *
 * @param {Paradigm} paradigm
 * @param {Trial} trial
 * @returns {Step[]}
 */
export function stepsOf(paradigm, trial) {
  switch (paradigm.kind) {
    case "rest":
      return restSteps(paradigm);
    case "eyes":
      return eyesSteps(paradigm, trial);
    case "control":
      return controlSteps(paradigm, trial);
    default:
      return cuedSteps(paradigm, trial);
  }
}

/** @param {Paradigm} paradigm @param {Trial} trial @returns {Step[]} */
function cuedSteps({ fixation_s = 2, cue_s = 1.25, imagery_s = 4, feedback = "none" }, { label, pause_s = 2 }) {
  /** @type {Step[]} */
  const steps = [
    { phase: "fixation", seconds: fixation_s, marker: "fixation", sound: "ready" },
    { phase: "cue", seconds: Math.min(cue_s, imagery_s), marker: label, label: classOf(label), sound: "cue" },
    { phase: "imagery", seconds: Math.max(0, imagery_s - cue_s), label: classOf(label) },
  ];
  if (feedback === "none") return [...steps, { phase: "pause", seconds: pause_s, marker: "imagery_end" }];
  return [
    ...steps,
    { phase: "pause", seconds: SETTLE_S, marker: "imagery_end" },
    { phase: "result", seconds: RESULT_S, label: classOf(label) },
    { phase: "pause", seconds: Math.max(0, pause_s - SETTLE_S - RESULT_S) },
  ];
}

/** @param {Paradigm} paradigm @returns {Step[]} */
const restSteps = ({ duration_s = 120 }) => [
  { phase: "rest", seconds: duration_s, marker: "rest_start" },
  { phase: "pause", seconds: 1, marker: "rest_end", sound: "end" },
];

/** @param {Paradigm} paradigm @param {Trial} trial @returns {Step[]} */
function eyesSteps({ blocks = [] }, { index, label }) {
  const closed = label.endsWith("closed");
  const duration = (blocks[index] ?? blocks.find(({ eyes }) => (eyes === "closed") === closed))?.duration_s ?? 60;
  return [
    { phase: "eyes", seconds: duration, marker: closed ? "eyes_closed" : "eyes_open", label: closed ? "closed" : "open", sound: closed ? "cue" : "ready" },
    { phase: "pause", seconds: 1, marker: closed ? "eyes_open" : undefined, sound: "end" },
  ];
}

/** @param {Paradigm} paradigm @param {Trial} trial @returns {Step[]} */
const controlSteps = ({ limit_s = 30, rest_s = 6 }, { label, pause_s = rest_s }) => [
  { phase: "break", seconds: pause_s, marker: "rest_start" },
  { phase: "attempt", seconds: limit_s, marker: label, label, sound: "cue" },
  { phase: "outcome", seconds: RESULT_S },
];
