// The few numbers of a paradigm as a form, and the paradigm with the numbers of the form.

import { element, fill } from "../dom.js";
import { text } from "../texts.js";

/** @typedef {import("../task.js").Paradigm} Paradigm */

/** Name, smallest, largest, step. @type {Record<string, [string, number, number, number][]>} */
const NUMBERS = {
  cued: [
    ["trials_per_class", 1, 200, 1],
    ["practice", 0, 50, 1],
    ["fixation_s", 0.5, 60, 0.25],
    ["cue_s", 0.5, 60, 0.25],
    ["imagery_s", 0.5, 60, 0.25],
  ],
  rest: [["duration_s", 5, 1800, 5]],
  control: [
    ["targets", 1, 200, 1],
    ["distance", 1, 6, 1],
    ["limit_s", 5, 300, 1],
    ["rest_s", 2, 60, 1],
  ],
};

/** Inputs in ``place`` for what can be changed of a paradigm. @param {HTMLElement} place @param {Paradigm} paradigm */
export function showNumbers(place, paradigm) {
  const given = /** @type {Record<string, any>} */ (paradigm);
  const fields = (NUMBERS[paradigm.kind] ?? []).map(([name, min, max, step]) => number(name, given[name], min, max, step));
  if (paradigm.kind === "cued") {
    fields.push(number("pause_min", paradigm.pause_s?.[0] ?? 1.5, 0.5, 60, 0.25), number("pause_max", paradigm.pause_s?.[1] ?? 3, 0.5, 60, 0.25));
    const feedback = element("select", { name: "feedback" });
    fill(feedback, ["none", "bar", "cursor"].map((kind) => [kind, text(`session.number.feedback.${kind}`)]));
    feedback.value = paradigm.feedback ?? "none";
    fields.push(labelled("feedback", feedback));
    fields.push(element("label", { class: "check" }, element("input", { type: "checkbox", name: "sound", checked: paradigm.sound !== false }), element("span", { text: text("session.number.sound") })));
  }
  if (paradigm.kind === "eyes") for (const [at, block] of (paradigm.blocks ?? []).entries()) fields.push(number(`block_${at}`, block.duration_s, 5, 600, 5, text(`session.number.eyes.${block.eyes}`, { n: at + 1 })));
  if (paradigm.classes) fields.unshift(labelled("classes", element("input", { name: "classes", value: paradigm.classes.join(", "), spellcheck: "false", autocomplete: "off", required: true })));
  place.replaceChildren(...fields);
}

/** @param {string} name @param {HTMLElement} input @param {string} [words] */
const labelled = (name, input, words = text(`session.number.${name}`)) => element("label", {}, element("span", { text: words }), input);

/** @param {string} name @param {number} value @param {number} min @param {number} max @param {number} step @param {string} [words] */
function number(name, value, min, max, step, words) {
  return labelled(name, element("input", { type: "number", name, value: String(value), min: String(min), max: String(max), step: String(step), required: true }), words);
}

/** A paradigm with the values of its inputs; the same object if they are those that it has. @param {HTMLElement} place @param {Paradigm} paradigm @returns {Paradigm} */
export function withNumbers(place, paradigm) {
  const inputs = new Map([...place.querySelectorAll("input, select")].map((input) => [/** @type {HTMLInputElement} */ (input).name, /** @type {HTMLInputElement} */ (input)]));
  const value = (/** @type {string} */ name) => Number(inputs.get(name)?.value);
  /** @type {Record<string, any>} */
  const changed = { ...paradigm };
  for (const [name] of NUMBERS[paradigm.kind] ?? []) changed[name] = value(name);
  if (paradigm.kind === "cued") {
    changed.pause_s = [value("pause_min"), value("pause_max")];
    changed.feedback = inputs.get("feedback")?.value;
    changed.sound = inputs.get("sound")?.checked;
  }
  if (paradigm.kind === "eyes") changed.blocks = (paradigm.blocks ?? []).map((block, at) => ({ ...block, duration_s: value(`block_${at}`) }));
  if (paradigm.classes) {
    changed.classes = (inputs.get("classes")?.value ?? "").split(",").map((label) => label.trim()).filter(Boolean);
    if (JSON.stringify(changed.classes) !== JSON.stringify(paradigm.classes)) delete changed.moves; // the service gives others
  }
  return /** @type {Paradigm} */ (JSON.stringify(changed) === JSON.stringify(paradigm) ? paradigm : changed);
}

/** Seconds that a paradigm takes without repeated trials, at most. @param {Paradigm} paradigm */
export function secondsOf(paradigm) {
  const { kind, fixation_s = 0, imagery_s = 0, pause_s = [0, 0], duration_s = 0, blocks = [], targets = 0, limit_s = 0, rest_s = 0 } = paradigm;
  if (kind === "rest") return duration_s;
  if (kind === "eyes") return blocks.reduce((sum, block) => sum + block.duration_s, 0);
  if (kind === "control") return targets * (limit_s + rest_s);
  return trialsOf(paradigm) * (fixation_s + imagery_s + (pause_s[0] + pause_s[1]) / 2);
}

/** Trials of a paradigm. @param {Paradigm} paradigm */
export const trialsOf = ({ kind, classes = [], trials_per_class: each = 0, practice = 0, targets = 0 }) => (kind === "cued" ? classes.length * each + practice : kind === "control" ? targets : 0);
