// The bars of the newest prediction, beside those of a model in the shadow; and the curves, decisions and axes of the last 20 seconds.

import { Plot, RemoteClock, classColour, colour, markerLabel } from "./canvas.js";
import { byId, element } from "./dom.js";
import { text } from "./texts.js";
import { className, fixed, markerText, shape, words } from "./words.js";

/** @typedef {import("./types.d.ts").Prediction} Prediction */
/** @typedef {import("./types.d.ts").Marker} Marker */
/** @typedef {(value: number) => number} Scale */
/** @typedef {{row: HTMLElement, track: HTMLElement, fill: HTMLElement, value: HTMLElement, shadow: HTMLElement}} Row */

const SPAN_S = 20;
const SPOKEN_EVERY_MS = 1000;
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [1, 2], [5, 2]];
const GAP_S = 0.6;
const CUE_SHOWN_S = 4.5;
const LANE = 24; // height of the lane of decisions
const AXIS_LANE = 34; // height of the lane of one axis
const DRAWN_EVERY_MS = 80;
const WRITTEN_EVERY_MS = 100; // numbers that change faster are not read
const SHADOW_GONE_S = 1.5;

export class Probabilities {
  #bars = byId("bars");
  #figure = byId("history").parentElement;
  /** @type {Row[]} */
  #rows = [];
  /** @type {string[]} */
  #classes = [];
  /** @type {Prediction[]} */
  #past = [];
  /** @type {Marker[]} */
  #cues = [];
  /** @type {{time: number, class: string, shadow?: boolean}[]} */
  #decisions = [];
  /** @type {import("./types.d.ts").AxisValues[]} */
  #axisValues = [];
  /** @type {import("./types.d.ts").Axis[]} */
  #axes = [];
  #controlled = false;
  #clock = new RemoteClock();
  /** @type {Prediction | null} */
  #newest = null;
  /** @type {Prediction | null} */
  #shown = null;
  /** @type {import("./types.d.ts").Shadow | null} */
  #shadow = null;
  #shadowed = false;
  #spokenAt = 0;
  #drawnAt = 0;
  #writtenAt = 0;
  #unsure = false;
  #plot = new Plot(byId("history", HTMLCanvasElement), (...args) => this.#draw(...args));

  /** A connection has begun. @param {string[]} classes */
  hello(classes) {
    if (classes.join() !== this.#classes.join()) this.#past = [];
    this.#classes = classes;
    this.#newest = this.#shown = this.#shadow = null;
    this.#clock = new RemoteClock();
    this.#rows = classes.map((name, index) => {
      const fill = element("span", { class: "fill" });
      const shadow = element("span", { class: "shadow" });
      const value = element("span", { class: "value", "aria-hidden": "true", text: "–" });
      const track = element("span", { class: "track", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0", "aria-label": className(name) }, fill, shadow, element("span", { class: "cue", text: text("live.imagined_now") }));
      const label = element("span", { class: "name" }, element("span", { class: "mark", text: shape(index) }), element("span", { class: "text", text: className(name) }));
      return { row: element("div", { class: `bar c${index % 6}` }, label, track, value), track, fill, value, shadow };
    });
    this.#bars.replaceChildren(...this.#rows.map(({ row }) => row));
    this.#plot.touch();
  }

  clear() {
    this.#past = [];
    this.#cues = [];
    this.#decisions = [];
    this.#axisValues = [];
    this.#plot.touch();
  }

  /** @param {Prediction} prediction */
  add(prediction) {
    this.#newest = prediction;
    const last = this.#past.at(-1);
    if (last && prediction.time <= last.time) this.#past = [];
    this.#past.push(prediction);
    while (this.#past[0].time < prediction.time - SPAN_S - 1) this.#past.shift();
    this.#clock.observe(prediction.time, prediction.received);
  }

  /** @param {import("./types.d.ts").Shadow} prediction of a model in the shadow */
  shadow(prediction) {
    this.#shadow = prediction;
    if (prediction.decision) this.#keepDecision({ time: prediction.time, class: prediction.decision, shadow: true });
  }

  /** @param {import("./types.d.ts").AxisValues} values */
  axisValues(values) {
    this.#axisValues.push(values);
    while (this.#axisValues[0].time < values.time - SPAN_S - 1) this.#axisValues.shift();
  }

  /**
   * A marker of the network, or a cue of the demonstration: perhaps the name of a class.
   * @param {Marker} marker
   */
  marker({ label, time }) {
    this.#cues.push({ label, time });
    if (this.#cues.length > 50) this.#cues.shift();
  }

  /** @param {import("./types.d.ts").Decision} decision */
  decision(decision) {
    this.#keepDecision(decision);
  }

  /** @param {{time: number, class: string, shadow?: boolean}} decision */
  #keepDecision(decision) {
    this.#decisions.push(decision);
    if (this.#decisions.length > 80) this.#decisions.shift();
  }

  /**
   * Room for decisions and axes while there is a control policy.
   * @param {import("./types.d.ts").Policy | null} policy
   */
  control(policy) {
    this.#controlled = policy !== null;
    this.#axes = policy?.axes ?? [];
    this.#figure?.style.setProperty("--lanes", `${this.#lanes}px`);
    this.#plot.touch();
  }

  get #lanes() {
    return (this.#controlled ? LANE : 0) + this.#axes.length * AXIS_LANE;
  }

  /**
   * Hatch the bars while what they show should not be believed.
   * @param {boolean} value
   */
  set unsure(value) {
    this.#unsure = value;
  }

  /** @param {number} now */
  frame(now) {
    this.#bars.classList.toggle("unsure", this.#unsure);
    if (this.#past.length && now - this.#drawnAt >= DRAWN_EVERY_MS) {
      this.#drawnAt = now;
      this.#plot.touch();
      this.#showCue(now);
      this.#showShadow(now);
    }
    const prediction = this.#newest;
    if (prediction === null || prediction === this.#shown) return;
    this.#shown = prediction;
    const speak = now - this.#spokenAt > SPOKEN_EVERY_MS;
    if (speak) this.#spokenAt = now;
    const write = now - this.#writtenAt >= WRITTEN_EVERY_MS;
    if (write) this.#writtenAt = now;
    const best = prediction.probabilities.indexOf(Math.max(...prediction.probabilities));
    this.#rows.forEach(({ row, track, fill, value }, index) => {
      const probability = prediction.probabilities[index] || 0; // NaN where the decoder gave no number
      fill.style.transform = `scaleX(${probability})`;
      if (!write) return;
      value.textContent = `${(probability * 100).toFixed(0)} %`;
      row.classList.toggle("best", index === best);
      if (speak) track.setAttribute("aria-valuenow", (probability * 100).toFixed(0));
    });
  }

  /** @param {number} now */
  #showCue(now) {
    const last = this.#cues.at(-1);
    const time = this.#clock.now(now);
    const current = last && time !== null && time - last.time < CUE_SHOWN_S ? last.label : null;
    this.#rows.forEach(({ row }, index) => row.classList.toggle("cued", this.#classes[index] === current));
  }

  /**
   * A thin bar below that of the model in use.
   * @param {number} now
   */
  #showShadow(now) {
    const time = this.#clock.now(now);
    const shadow = this.#shadow && time !== null && time - this.#shadow.time < SHADOW_GONE_S ? this.#shadow : null;
    if (shadow === null && !this.#shadowed) return;
    this.#shadowed = shadow !== null;
    this.#bars.classList.toggle("shadowed", this.#shadowed);
    this.#rows.forEach(({ shadow: bar }, index) => {
      bar.style.transform = `scaleX(${shadow?.probabilities[index] || 0})`;
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {number} now
   */
  #draw(context, width, height, now) {
    const left = 50, right = width - 96, top = 8, bottom = height - 22 - this.#lanes;
    const end = this.#clock.now(now) ?? 0;
    const x = (/** @type {number} */ time) => right - ((end - time) / SPAN_S) * (right - left);
    const y = (/** @type {number} */ probability) => bottom - probability * (bottom - top);
    this.#drawGrid(context, left, right, y, height - 15);
    if (!this.#past.length) {
      context.fillStyle = colour("soft");
      context.textAlign = "center";
      context.fillText(text("live.waiting"), (left + right) / 2, (top + bottom) / 2);
      return;
    }
    context.save();
    context.beginPath();
    context.rect(left, top - 4, right - left, bottom - top + 8);
    context.clip();
    this.#drawInvalid(context, x, top, bottom);
    context.lineWidth = 2;
    context.lineJoin = "round";
    this.#classes.forEach((_, index) => {
      context.strokeStyle = classColour(index);
      context.setLineDash(DASHES[index % DASHES.length]);
      context.beginPath();
      let before = -Infinity;
      for (const { time, probabilities } of this.#past) {
        if (time - before > GAP_S) context.moveTo(x(time), y(probabilities[index]));
        else context.lineTo(x(time), y(probabilities[index]));
        before = time;
      }
      context.stroke();
    });
    context.setLineDash([]);
    this.#drawCues(context, x, right, top, bottom);
    context.restore();
    if (this.#controlled) this.#drawDecisions(context, x, left, bottom);
    this.#axes.forEach((axis, i) => this.#drawAxis(context, x, left, right, bottom + LANE + i * AXIS_LANE, axis));
    context.textBaseline = "middle";
    this.#drawNames(context, right, top, bottom, y);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} left
   * @param {number} right
   * @param {Scale} y
   * @param {number} scale
   */
  #drawGrid(context, left, right, y, scale) {
    context.lineWidth = 1;
    context.textBaseline = "middle";
    for (const level of [0, 0.25, 0.5, 0.75, 1]) {
      context.strokeStyle = colour("line");
      context.beginPath();
      context.moveTo(left, y(level));
      context.lineTo(right, y(level));
      context.stroke();
      context.fillStyle = colour("soft");
      context.textAlign = "right";
      if (level * 2 === Math.round(level * 2) && level * this.#classes.length !== 1) context.fillText(fixed(level, 1), left - 7, y(level));
    }
    if (this.#classes.length) {
      const chance = 1 / this.#classes.length;
      context.strokeStyle = colour("faint");
      context.setLineDash([2, 4]);
      context.beginPath();
      context.moveTo(left, y(chance));
      context.lineTo(right, y(chance));
      context.stroke();
      context.setLineDash([]);
      context.textAlign = "right";
      context.fillText(text("live.chance"), left - 7, y(chance));
    }
    context.textBaseline = "top";
    context.textAlign = "center";
    for (let seconds = 0; seconds <= SPAN_S; seconds += 5) {
      const at = right - (seconds / SPAN_S) * (right - left);
      context.fillText(seconds ? `−${seconds} s` : text("live.now"), at, scale);
    }
    context.textBaseline = "middle";
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scale} x
   * @param {number} top
   * @param {number} bottom
   */
  #drawInvalid(context, x, top, bottom) {
    context.fillStyle = colour("warn-ground");
    /** @type {number | null} */
    let begin = null;
    let before = 0;
    const paint = (/** @type {number} */ from, /** @type {number} */ to) => context.fillRect(x(from), top, Math.max(1, x(to) - x(from)), bottom - top);
    for (const { time, valid } of this.#past) {
      if (begin !== null && (valid || time - before > GAP_S)) {
        paint(begin, valid && time - before <= GAP_S ? time : before);
        begin = null;
      }
      if (!valid && begin === null) begin = time;
      before = time;
    }
    if (begin !== null) paint(begin, before);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Scale} x
   * @param {number} right
   * @param {number} top
   * @param {number} bottom
   */
  #drawCues(context, x, right, top, bottom) {
    context.textBaseline = "top";
    context.lineWidth = 1.5;
    let row = 0, end = -Infinity; // of the label before: those that would cover each other stand in rows
    for (const { label, time } of this.#cues) {
      const index = this.#classes.indexOf(label);
      context.strokeStyle = context.fillStyle = index < 0 ? colour("soft") : classColour(index);
      context.beginPath();
      context.moveTo(x(time), top);
      context.lineTo(x(time), bottom);
      context.stroke();
      const named = `▸ ${index < 0 ? markerText(label) : className(label)}`;
      row = x(time) < end ? (row + 1) % 3 : 0;
      end = x(time) + 8 + context.measureText(named).width;
      markerLabel(context, named, x(time), right, top + 17 * row);
    }
  }

  /**
   * Each decision in the lane below the curves: shape and colour of its class, and its name where there is room.
   * Those that a model in the shadow would have made are small and have no name.
   * @param {CanvasRenderingContext2D} context
   * @param {Scale} x
   * @param {number} left
   * @param {number} bottom
   */
  #drawDecisions(context, x, left, bottom) {
    const middle = bottom + LANE / 2;
    let free = Infinity;
    context.textBaseline = "middle";
    for (const { time, class: name, shadow = false } of this.#decisions.toReversed()) {
      const at = x(time), index = this.#classes.indexOf(name);
      if (at < left) break;
      context.fillStyle = context.strokeStyle = classColour(index);
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(at, bottom - 8);
      context.lineTo(at, middle - 8);
      context.stroke();
      context.font = `${shadow ? 9 : 16}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.fillText(shape(index), at, shadow ? middle + 9 : middle);
      if (shadow) continue;
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "left";
      if (at + 13 + context.measureText(className(name)).width < free) context.fillText(className(name), at + 10, middle);
      free = at - 10;
    }
    context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.fillText(text("live.decided_lane"), left - 7, middle, left - 9);
  }

  /**
   * An axis of the policy in a lane of its own, from −1 to 1.
   * @param {CanvasRenderingContext2D} context
   * @param {Scale} x
   * @param {number} left
   * @param {number} right
   * @param {number} top
   * @param {import("./types.d.ts").Axis} axis
   */
  #drawAxis(context, x, left, right, top, { name, positive, negative }) {
    const middle = top + AXIS_LANE / 2, half = AXIS_LANE / 2 - 5;
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(left, middle);
    context.lineTo(right, middle);
    context.stroke();
    context.strokeStyle = colour("accent");
    context.lineWidth = 1.5;
    context.beginPath();
    let before = -Infinity;
    for (const { time, values } of this.#axisValues) {
      const at = x(time), height = middle - (values[name] ?? 0) * half;
      if (at < left) continue;
      if (time - before > GAP_S) context.moveTo(at, height);
      else context.lineTo(at, height);
      before = time;
    }
    context.stroke();
    context.fillStyle = colour("soft");
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillText(words(name), left - 7, middle, left - 9);
    context.textAlign = "left";
    context.font = "11px system-ui, sans-serif";
    if (positive) context.fillText(`↑ ${className(positive)}`, right + 8, middle - 7, 88);
    if (negative) context.fillText(`↓ ${className(negative)}`, right + 8, middle + 7, 88);
    context.font = "12px system-ui, sans-serif";
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} right
   * @param {number} top
   * @param {number} bottom
   * @param {Scale} y
   */
  #drawNames(context, right, top, bottom, y) {
    const last = this.#past[this.#past.length - 1].probabilities;
    const labels = this.#classes.map((name, index) => ({ name: className(name), index, at: y(last[index]) }));
    labels.sort((a, b) => a.at - b.at);
    const step = 15;
    labels.forEach((label, i) => {
      label.at = Math.max(label.at, i ? labels[i - 1].at + step : top + 4);
    });
    for (let i = labels.length - 1, floor = bottom; i >= 0; i -= 1, floor -= step) labels[i].at = Math.min(labels[i].at, floor);
    context.textAlign = "left";
    for (const { name, index, at } of labels) {
      context.fillStyle = classColour(index);
      context.fillText(name, right + 8, at, 88);
    }
  }
}
