// The slider along the trade-off that a policy was tuned on: what each choice gives and costs.

import { byId } from "./dom.js";
import { plural, text } from "./texts.js";
import { fixed } from "./words.js";

/** @typedef {import("./types.d.ts").Policy} Policy */
/** @typedef {Pick<import("./types.d.ts").FrontierPoint, "evidence" | "decide">} Stages */

/**
 * Upper end of the exact one-sided 95 % interval of a rate, from a count and minutes.
 * @param {number} count
 * @param {number} minutes
 */
export function poissonBound(count, minutes) {
  let low = 0, high = 10 + 3 * count;
  for (let i = 0; i < 60; i += 1) {
    const mean = (low + high) / 2;
    let log = -mean, below = Math.exp(log);
    for (let k = 1; k <= count; k += 1) below += Math.exp(log += Math.log(mean / k));
    if (below > 0.05) low = mean;
    else high = mean;
  }
  return high / minutes;
}

/**
 * @param {Stages} a
 * @param {Stages} b
 */
const same = (a, b) => JSON.stringify([a.evidence, a.decide]) === JSON.stringify([b.evidence, b.decide]);
/** @param {number} value */
const rate = (value) => fixed(value, 2);

/**
 * @param {number} n
 * @param {"right" | "wrong_first"} which
 */
const more = (n, which) => text(`control.${n < 0 ? "fewer" : "more"}_${which}`, { n: Math.abs(n) });

export class Frontier {
  #box = byId("frontier");
  #slider = byId("frontier-slider", HTMLInputElement);
  #text = byId("frontier-text");
  #note = byId("frontier-note");
  /** @type {Policy | null} */
  #policy = null;
  #running = -1; // the point that runs; -1 for thresholds of another origin

  /** @param {(policy: object) => void} choose called with the policy that runs, with another point's stages */
  constructor(choose) {
    this.#slider.addEventListener("input", () => this.#describe());
    this.#slider.addEventListener("change", () => {
      const { evidence, decide } = this.#points[Number(this.#slider.value)];
      choose({ ...this.#policy, evidence, decide });
    });
  }

  get #points() {
    return this.#policy?.tuning?.frontier ?? [];
  }

  /** @param {Policy | null} policy */
  use(policy) {
    const tuning = policy?.tuning;
    this.#box.hidden = !tuning?.frontier.length;
    this.#policy = policy;
    if (!policy || !tuning?.frontier.length) return;
    this.#running = tuning.frontier.findIndex((point) => same(point, policy));
    this.#slider.disabled = tuning.frontier.length < 2;
    this.#slider.max = String(tuning.frontier.length - 1);
    this.#slider.value = String(Math.max(0, this.#running));
    this.#describe();
  }

  #describe() {
    const tuning = this.#policy?.tuning;
    if (!tuning) return;
    const { rest_minutes: minutes, trials, frontier, budget_per_minute: budget, proven_per_minute: proven } = tuning;
    const point = frontier[Number(this.#slider.value)], now = frontier[this.#running];
    const count = Math.round(point.false_per_minute * minutes);
    const gives = text("control.at_most", { bound: rate(poissonBound(count, minutes)), right: point.right, trials, wrong: point.wrong_first });
    const change = now && now !== point ? ` ${text("control.than_now", { right: more(point.right - now.right, "right"), wrong: more(point.wrong_first - now.wrong_first, "wrong_first") })}` : "";
    this.#text.textContent = gives + change;
    this.#slider.setAttribute("aria-valuetext", gives + change);
    const origin = this.#running < 0 ? `${text("control.no_choice")} ` : "";
    const counted = plural("control.counted", count, { minutes: fixed(minutes, 1) });
    this.#note.textContent = `${origin}${counted} ${text("control.tuned", { budget: rate(budget), proven: rate(proven) })}`;
  }
}
