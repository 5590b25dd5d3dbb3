// @ts-nocheck
// The slider along the trade-off that a policy was tuned on: what each choice gives and costs.

/** Upper end of the exact one-sided 95 % interval of a rate, from a count and minutes. */
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

const same = (a, b) => JSON.stringify([a.evidence, a.decide]) === JSON.stringify([b.evidence, b.decide]);
const rate = (value) => value.toFixed(2);
const more = (n, what) => `${Math.abs(n)} ${n < 0 ? "fewer" : "more"} ${what}`;

export class Frontier {
  #box = document.getElementById("frontier");
  #slider = document.getElementById("frontier-slider");
  #text = document.getElementById("frontier-text");
  #note = document.getElementById("frontier-note");
  #policy = null;
  #running = -1; // the point that runs; -1 for thresholds of another origin

  /** ``choose`` is called with the policy that runs, with another point's stages. */
  constructor(choose) {
    this.#slider.addEventListener("input", () => this.#describe());
    this.#slider.addEventListener("change", () => {
      const { evidence, decide } = this.#point;
      choose({ ...this.#policy, evidence, decide });
    });
  }

  get #point() {
    return this.#policy.tuning.frontier[Number(this.#slider.value)];
  }

  use(policy) {
    const tuning = policy?.tuning;
    this.#box.hidden = !tuning?.frontier.length;
    if (this.#box.hidden) return;
    this.#policy = policy;
    this.#running = tuning.frontier.findIndex((point) => same(point, policy));
    this.#slider.disabled = tuning.frontier.length < 2;
    this.#slider.max = tuning.frontier.length - 1;
    this.#slider.value = Math.max(0, this.#running);
    this.#describe();
  }

  #describe() {
    const { rest_minutes: minutes, trials, frontier, budget_per_minute: budget, proven_per_minute: proven } = this.#policy.tuning;
    const point = this.#point, now = frontier[this.#running];
    const count = Math.round(point.false_per_minute * minutes);
    const text = `At most ${rate(poissonBound(count, minutes))} false activations a minute: ${point.right} of ${trials} trials right, ` +
      `${point.wrong_first} wrong first, in the recordings it was tuned on.`;
    const others = [point.right - now?.right, point.wrong_first - now?.wrong_first];
    const change = now && now !== point ? ` Than now: ${more(others[0], "right")}, ${more(others[1], "wrong first")}.` : "";
    this.#text.textContent = text + change;
    this.#slider.setAttribute("aria-valuetext", text + change);
    const origin = this.#running < 0 ? "What runs now is none of these choices. " : "";
    this.#note.textContent = `${origin}${count} false ${count === 1 ? "activation" : "activations"} in ${minutes.toFixed(1)} minutes of rest; at most is the upper end of the 95 % interval. Each choice was the ` +
      `best of many on these recordings: expect a little more on others. Tuned for ${rate(budget)} a minute; proven: at most ${rate(proven)}.`;
  }
}
