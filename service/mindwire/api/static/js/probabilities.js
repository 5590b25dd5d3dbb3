// @ts-nocheck
// The bars of the newest prediction, and the lines and decisions of the last 20 seconds.

import { Plot, RemoteClock, classColour, colour, markerLabel } from "./canvas.js";
import { shape, words } from "./words.js";

const SPAN_S = 20;
const SPOKEN_EVERY_MS = 1000;
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [1, 2], [5, 2]];
const GAP_S = 0.6;
const CUE_SHOWN_S = 4.5;
const LANE = 24; // height of the lane of decisions

export class Probabilities {
  #bars = document.getElementById("bars");
  #rows = [];
  #classes = [];
  #past = [];
  #cues = [];
  #decisions = [];
  #controlled = false;
  #clock = new RemoteClock();
  #newest = null;
  #shown = null;
  #spokenAt = 0;
  #unsure = false;
  #plot = new Plot(document.getElementById("history"), (...args) => this.#draw(...args));

  hello({ classes }) {
    if (classes.join() !== this.#classes.join()) this.#past = [];
    this.#classes = classes;
    this.#newest = this.#shown = null;
    this.#clock = new RemoteClock();
    this.#rows = classes.map((name, index) => {
      const row = document.createElement("div");
      row.className = `bar c${index % 6}`;
      row.innerHTML =
        '<span class="name"><span class="mark"></span><span class="text"></span></span>' +
        '<span class="track" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><span class="fill"></span>' +
        '<span class="cue">imagined now</span></span>' +
        '<span class="value" aria-hidden="true">–</span>';
      const [text, track, fill, value] = [".text", ".track", ".fill", ".value"].map((part) => row.querySelector(part));
      row.querySelector(".mark").textContent = shape(index);
      text.textContent = words(name);
      track.setAttribute("aria-label", words(name));
      return { row, track, fill, value };
    });
    this.#bars.replaceChildren(...this.#rows.map(({ row }) => row));
    this.#plot.touch();
  }

  clear() {
    this.#past = [];
    this.#cues = [];
    this.#decisions = [];
    this.#plot.touch();
  }

  add(prediction, localMs) {
    this.#newest = prediction;
    const last = this.#past.at(-1);
    if (last && prediction.time <= last.time) this.#past = [];
    this.#past.push(prediction);
    while (this.#past[0].time < prediction.time - SPAN_S - 1) this.#past.shift();
    this.#clock.hear(prediction.time, localMs);
  }

  /** A marker of the network, or a cue of the demonstration: perhaps the name of a class. */
  marker({ label, time }) {
    this.#cues.push({ label, time });
    if (this.#cues.length > 50) this.#cues.shift();
  }

  decision(decision) {
    this.#decisions.push(decision);
    if (this.#decisions.length > 50) this.#decisions.shift();
  }

  /** Room for decisions while there is a control policy. */
  set controlled(value) {
    this.#controlled = value;
    this.#plot.touch();
  }

  /** Hatch the bars while what they show should not be believed. */
  set unsure(value) {
    this.#unsure = value;
  }

  frame(now) {
    this.#bars.classList.toggle("unsure", this.#unsure);
    if (this.#past.length) this.#plot.touch();
    this.#showCue(now);
    const prediction = this.#newest;
    if (prediction === null || prediction === this.#shown) return;
    this.#shown = prediction;
    const speak = now - this.#spokenAt > SPOKEN_EVERY_MS;
    if (speak) this.#spokenAt = now;
    const best = prediction.probabilities.indexOf(Math.max(...prediction.probabilities));
    this.#rows.forEach(({ row, track, fill, value }, index) => {
      const probability = prediction.probabilities[index] ?? 0;
      fill.style.transform = `scaleX(${probability})`;
      value.textContent = `${(probability * 100).toFixed(0)} %`;
      row.classList.toggle("best", index === best);
      if (speak) track.setAttribute("aria-valuenow", (probability * 100).toFixed(0));
    });
  }

  #showCue(now) {
    const last = this.#cues.at(-1);
    const time = this.#clock.now(now);
    const current = last && time !== null && time - last.time < CUE_SHOWN_S ? last.label : null;
    this.#rows.forEach(({ row }, index) => row.classList.toggle("cued", this.#classes[index] === current));
  }

  #draw(context, width, height, now) {
    const left = 50, right = width - 96, top = 8, bottom = height - 22 - (this.#controlled ? LANE : 0);
    const end = this.#clock.now(now) ?? 0;
    const x = (time) => right - ((end - time) / SPAN_S) * (right - left);
    const y = (probability) => bottom - probability * (bottom - top);
    this.#drawGrid(context, left, right, top, bottom, y, height - 15);
    if (!this.#past.length) {
      context.fillStyle = colour("soft");
      context.textAlign = "center";
      context.fillText("waiting for predictions", (left + right) / 2, (top + bottom) / 2);
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
    context.textBaseline = "middle";
    this.#drawNames(context, right, top, bottom, y);
  }

  #drawGrid(context, left, right, top, bottom, y, scale) {
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
      if (level * 2 === Math.round(level * 2) && level * this.#classes.length !== 1) context.fillText(level.toFixed(1), left - 7, y(level));
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
      context.fillText("chance", left - 7, y(chance));
    }
    context.textBaseline = "top";
    context.textAlign = "center";
    for (let seconds = 0; seconds <= SPAN_S; seconds += 5) {
      const at = right - (seconds / SPAN_S) * (right - left);
      context.fillText(seconds ? `−${seconds} s` : "now", at, scale);
    }
    context.textBaseline = "middle";
  }

  #drawInvalid(context, x, top, bottom) {
    context.fillStyle = colour("warn-ground");
    let begin = null, before = null;
    const paint = (from, to) => context.fillRect(x(from), top, Math.max(1, x(to) - x(from)), bottom - top);
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
      const text = `▸ ${words(label)}`;
      row = x(time) < end ? (row + 1) % 3 : 0;
      end = x(time) + 8 + context.measureText(text).width;
      markerLabel(context, text, x(time), right, top + 17 * row);
    }
  }

  /** Each decision in the lane below the curves: shape and colour of its class, and its name where there is room. */
  #drawDecisions(context, x, left, bottom) {
    const middle = bottom + LANE / 2;
    let free = Infinity;
    context.textBaseline = "middle";
    for (const { time, class: name } of this.#decisions.toReversed()) {
      const at = x(time), index = this.#classes.indexOf(name);
      if (at < left) break;
      context.fillStyle = context.strokeStyle = classColour(index);
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(at, bottom - 8);
      context.lineTo(at, middle - 8);
      context.stroke();
      context.font = "16px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText(shape(index), at, middle);
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "left";
      if (at + 13 + context.measureText(words(name)).width < free) context.fillText(words(name), at + 10, middle);
      free = at - 10;
    }
    context.fillStyle = colour("soft");
    context.textAlign = "right";
    context.fillText("decided", left - 7, middle, left - 9);
  }

  #drawNames(context, right, top, bottom, y) {
    const last = this.#past.at(-1).probabilities;
    const labels = this.#classes.map((name, index) => ({ name: words(name), index, at: y(last[index]) }));
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
