// Where the time goes: the median of each stage, and how the sum is distributed.

import { Plot, colour } from "./canvas.js";
import { byId, element, write } from "./dom.js";
import { text } from "./texts.js";
import { coded, ms, quantile } from "./words.js";

const KEPT = 500;
const REFRESH_MS = 500;
const LOW_MS = 0.1, HIGH_MS = 1000, BINS = 48;

export class Latency {
  #stack = byId("stack");
  #stages = byId("stages");
  #median = byId("latency-p50");
  #note = byId("latency-note");
  /** @type {Record<string, number>[]} */
  #kept = [];
  /** @type {number[]} */
  #ages = [];
  /** @type {number[]} */
  #sorted = [];
  #refreshAt = 0;
  #plot = new Plot(byId("distribution", HTMLCanvasElement), (context, width, height) => this.#draw(context, width, height));

  clear() {
    this.#kept = [];
    this.#ages = [];
    this.#sorted = [];
    this.#refreshAt = 0;
  }

  /** @param {import("./types.d.ts").Prediction} prediction */
  add(prediction) {
    this.#kept.push(prediction.latency_ms);
    if (this.#kept.length > KEPT) this.#kept.shift();
    this.#ages.push(prediction.ageMs);
    if (this.#ages.length > KEPT) this.#ages.shift();
  }

  /** @param {number} now */
  frame(now) {
    if (now < this.#refreshAt || !this.#kept.length) return;
    this.#refreshAt = now + REFRESH_MS;
    const names = [...new Set(this.#kept.flatMap(Object.keys))];
    const order = ["receive", "condition", "decode", "publish"];
    names.sort((a, b) => (order.indexOf(a) + 9) % 9 - (order.indexOf(b) + 9) % 9);
    const medians = names.map((name) => quantile(this.#kept.map((one) => one[name] ?? 0).sort((a, b) => a - b), 0.5));
    this.#sorted = this.#kept.map((one) => Object.values(one).reduce((sum, value) => sum + value, 0)).sort((a, b) => a - b);
    const total = quantile(this.#sorted, 0.5);
    this.#median.textContent = ms(total);
    this.#stack.replaceChildren(...names.map((_, index) => {
      const segment = element("span", { class: `s${index % 5}` });
      segment.style.flexGrow = String((1000 * Math.max(medians[index], 0)) / (total || 1));
      return segment;
    }));
    this.#stack.setAttribute("aria-label", text("live.median_per_stage", { stages: names.map((name, i) => `${coded("stage", name)} ${ms(medians[i])} ms`).join(", ") }));
    this.#stages.replaceChildren(...names.map((name, index) =>
      element("li", {}, element("span", { class: `mark s${index % 5}` }), element("span", { text: coded("stage", name) }), element("span", { class: "ms", text: `${ms(medians[index])} ms` }))));
    const ages = [...this.#ages].sort((a, b) => a - b);
    const age = quantile(ages, 0.5);
    // of time stamps by another clock the age says nothing
    write(this.#note, age > -5 && age < 10000 ? text("live.delay", { ms: age.toFixed(0) }) : "");
    this.#plot.touch();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #draw(context, width, height) {
    const left = 4, right = width - 4, top = 32, bottom = height - 20;
    const x = (/** @type {number} */ value) => left + (Math.log(value / LOW_MS) / Math.log(HIGH_MS / LOW_MS)) * (right - left);
    const bins = new Array(BINS).fill(0);
    for (const value of this.#sorted) {
      const bin = Math.floor((Math.log(Math.max(value, LOW_MS) / LOW_MS) / Math.log(HIGH_MS / LOW_MS)) * BINS);
      bins[Math.min(bin, BINS - 1)] += 1;
    }
    const most = Math.max(...bins, 1);
    context.strokeStyle = colour("line");
    context.fillStyle = colour("soft");
    context.textBaseline = "top";
    for (const tick of [0.1, 1, 10, 100, 1000]) {
      context.beginPath();
      context.moveTo(x(tick), top);
      context.lineTo(x(tick), bottom + 3);
      context.stroke();
      context.textAlign = tick === LOW_MS ? "left" : tick === HIGH_MS ? "right" : "center";
      context.fillText(tick === HIGH_MS ? "1 s" : `${tick} ms`, x(tick), bottom + 6);
    }
    context.fillStyle = colour("accent");
    const step = (right - left) / BINS;
    bins.forEach((n, bin) => {
      const size = (n / most) * (bottom - top);
      if (n) context.fillRect(left + bin * step + 0.5, bottom - Math.max(size, 1.5), step - 1, Math.max(size, 1.5));
    });
    if (!this.#sorted.length) return;
    this.#drawQuantiles(context, x, left, right, bottom);
  }

  /**
   * Each label has a line of text of its own, so that they never overlap, on the side that has room for it.
   * @param {CanvasRenderingContext2D} context
   * @param {(value: number) => number} x
   * @param {number} left
   * @param {number} right
   * @param {number} bottom
   */
  #drawQuantiles(context, x, left, right, bottom) {
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillStyle = context.strokeStyle = colour("text");
    [0.5, 0.99].forEach((q, row) => {
      const value = quantile(this.#sorted, q);
      const at = x(Math.min(Math.max(value, LOW_MS), HIGH_MS));
      const label = `p${q * 100} ${ms(value)} ms`, size = context.measureText(label).width;
      context.setLineDash([3, 3]);
      context.beginPath();
      context.moveTo(at, 4 + 14 * row);
      context.lineTo(at, bottom);
      context.stroke();
      context.setLineDash([]);
      const beside = at + 5 + size <= right ? at + 5 : Math.max(left, at - 5 - size);
      context.fillText(label, beside, 13 + 14 * row);
    });
  }
}
