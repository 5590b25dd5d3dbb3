// @ts-nocheck
// The strip of conditioned EEG: one row per channel, newest at the right.

import { Plot, RemoteClock, colour, markerLabel } from "./canvas.js";
import { reasonsText, unitText, words } from "./words.js";

const KEPT_S = 21;
const SCALES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000];
const AUTO_EVERY_MS = 1000;
const FRAME_MS = 30;
const MARKERS_KEPT = 200;
const LEAST_ROW_PX = 15;
const ALL_CHANNELS = 6; // a list of more is not read

export class Eeg {
  #channels = [];
  #unit = "";
  #sfreq = 125;
  #times = new Float64Array(0);
  #values = new Float32Array(0);
  #written = 0;
  #clock = new RemoteClock();
  #span = 10;
  #scale = 100; // unit per row
  #auto = true;
  #autoAt = 0;
  #pausedAt = null;
  #drawnAt = 0;
  #markers = [];
  #verdicts = new Map();
  #strip = document.getElementById("eeg").parentElement;
  #note = document.getElementById("eeg-note");
  #badText = document.getElementById("eeg-bad");
  #scaleText = document.getElementById("eeg-scale");
  #plot = new Plot(document.getElementById("eeg"), (...args) => this.#draw(...args));

  constructor() {
    const button = (id, action) => document.getElementById(id).addEventListener("click", action);
    button("eeg-less", () => this.#step(1));
    button("eeg-more", () => this.#step(-1));
    button("eeg-auto", () => this.#setAuto(!this.#auto));
    button("eeg-pause", ({ currentTarget }) => {
      this.#pausedAt = this.#pausedAt === null ? performance.now() : null;
      currentTarget.setAttribute("aria-pressed", String(this.#pausedAt !== null));
      currentTarget.textContent = this.#pausedAt === null ? "Pause" : "Resume";
      this.#plot.touch();
    });
    document.getElementById("eeg-span").addEventListener("change", ({ target }) => {
      this.#span = Number(target.value);
      this.#plot.touch();
    });
  }

  hello({ channels, unit, sfreq }) {
    this.#channels = channels;
    this.#unit = unitText(unit);
    this.#sfreq = sfreq;
    const rows = Math.ceil(KEPT_S * sfreq);
    this.#times = new Float64Array(rows).fill(NaN);
    this.#values = new Float32Array(rows * channels.length);
    this.#written = 0;
    this.#clock = new RemoteClock();
    this.#autoAt = 0;
    this.#note.textContent = `${channels.length} channels, after the model's filters, drawn at ${sfreq.toFixed(0)} Hz`;
    this.#strip.style.minHeight = `${channels.length * LEAST_ROW_PX + 50}px`;
    this.#showScale();
    this.#plot.touch();
  }

  clear() {
    this.#times.fill(NaN);
    this.#written = 0;
    this.#markers = [];
    this.quality([]);
  }

  /** Channels that are not well, from the stream's status: marked in the plot and named below its title. */
  quality(channels) {
    const ill = channels.filter(({ verdict }) => verdict !== "ok");
    this.#verdicts = new Map(ill.map((channel) => [channel.label, channel]));
    const text = ["bad", "suspect"].map((verdict) => {
      const some = ill.filter((channel) => channel.verdict === verdict);
      if (!some.length) return "";
      const named = some.slice(0, ALL_CHANNELS).map(({ label, reasons }) => `${label} (${reasonsText(reasons)})`).join(", ");
      const more = some.length > ALL_CHANNELS ? ` and ${some.length - ALL_CHANNELS} more` : "";
      return `${verdict === "bad" ? "Bad" : "Suspect"}: ${named}${more}`;
    }).filter(Boolean).join(" · ");
    if (this.#badText.textContent !== text) this.#badText.textContent = text;
    this.#badText.classList.toggle("bad", ill.some(({ verdict }) => verdict === "bad"));
    this.#plot.touch();
  }

  /** A marker of the network, or a cue of the demonstration. */
  marker({ label, time }) {
    this.#markers.push({ label, time });
    if (this.#markers.length > MARKERS_KEPT) this.#markers.shift();
    this.#plot.touch();
  }

  /** A block as the service sends it: float64 time, uint32 rows, uint32 columns, float32 samples, little-endian. */
  add(buffer, localMs) {
    if (this.#pausedAt !== null) return;
    const head = new DataView(buffer, 0, 16);
    const time = head.getFloat64(0, true), rows = head.getUint32(8, true), columns = head.getUint32(12, true);
    if (columns !== this.#channels.length) return;
    const samples = new Float32Array(buffer, 16);
    const capacity = this.#times.length;
    for (let row = 0; row < rows; row += 1) {
      const slot = this.#written % capacity;
      this.#times[slot] = time + row / this.#sfreq;
      this.#values.set(samples.subarray(row * columns, (row + 1) * columns), slot * columns);
      this.#written += 1;
    }
    this.#clock.hear(time + rows / this.#sfreq, localMs);
  }

  frame(now) {
    if (this.#pausedAt !== null || !this.#written || now - this.#drawnAt < FRAME_MS) return;
    this.#drawnAt = now;
    if (this.#auto && now >= this.#autoAt) this.#fit(now);
    this.#plot.touch();
  }

  #setAuto(value) {
    this.#auto = value;
    this.#autoAt = 0;
    document.getElementById("eeg-auto").setAttribute("aria-pressed", String(value));
  }

  #step(direction) {
    this.#setAuto(false);
    const index = SCALES.indexOf(this.#scale) + direction;
    this.#scale = SCALES[Math.max(0, Math.min(SCALES.length - 1, index))];
    this.#showScale();
    this.#plot.touch();
  }

  #showScale() {
    this.#scaleText.textContent = `${this.#scale} ${this.#unit} / row`;
  }

  /** The smallest scale whose row holds most of the recent signal; changes only when clearly wrong. */
  #fit(now) {
    this.#autoAt = now + AUTO_EVERY_MS;
    const columns = this.#channels.length, capacity = this.#times.length;
    const recent = Math.min(this.#written, Math.round(4 * this.#sfreq), capacity);
    if (recent < this.#sfreq) {
      this.#autoAt = now + 200;
      if (recent < this.#sfreq / 4) return;
    }
    const sizes = [];
    for (let i = this.#written - recent; i < this.#written; i += 3)
      for (let column = 0; column < columns; column += 2) sizes.push(Math.abs(this.#values[(i % capacity) * columns + column]));
    sizes.sort((a, b) => a - b);
    const wanted = sizes[Math.floor(sizes.length * 0.98)] * 1.8;
    if (wanted <= this.#scale && wanted > this.#scale * 0.35) return;
    this.#scale = SCALES.find((scale) => scale >= wanted) ?? SCALES.at(-1);
    this.#showScale();
  }

  #draw(context, width, height, now) {
    const left = 52, right = width - 58, top = 28, bottom = height - 22;
    const columns = this.#channels.length || 1;
    const row = (bottom - top) / columns;
    const end = this.#clock.now(this.#pausedAt ?? now) ?? 0;
    const perSecond = (right - left) / this.#span;
    this.#drawNames(context, left, right, top, row);
    this.#drawSeconds(context, left, right, top, bottom, perSecond);
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    this.#drawTraces(context, { right, top, row, end, perSecond });
    this.#drawMarkers(context, { left, right, top: top - 20, bottom, end, perSecond });
    context.restore();
    this.#drawScaleBar(context, right, top, row);
    if (this.#pausedAt !== null) this.#drawPaused(context, (left + right) / 2, top);
  }

  #drawNames(context, left, right, top, row) {
    context.font = `${Math.max(10, Math.min(12, row - 2))}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    this.#channels.forEach((name, index) => {
      const middle = top + (index + 0.5) * row, channel = this.#verdicts.get(name);
      if (channel) {
        context.fillStyle = colour(channel.verdict === "bad" ? "bad-ground" : "warn-ground");
        context.fillRect(0, middle - row / 2, right, row);
        context.fillStyle = colour(channel.verdict === "bad" ? "bad" : "warn");
        context.textAlign = "left";
        context.fillText(channel.verdict === "bad" ? "✕" : "!", 2, middle);
      } else context.fillStyle = colour("soft");
      context.textAlign = "right";
      context.fillText(name, left - 8, middle, left - 22);
    });
  }

  /** Lines stand where the labels are; the signal moves beneath them. */
  #drawSeconds(context, left, right, top, bottom, perSecond) {
    context.font = "12px system-ui, sans-serif";
    context.strokeStyle = colour("line");
    context.fillStyle = colour("soft");
    context.lineWidth = 1;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let seconds = 0; seconds <= this.#span; seconds += this.#span / 5) {
      const at = right - seconds * perSecond;
      context.beginPath();
      context.moveTo(at, top);
      context.lineTo(at, bottom);
      context.stroke();
      if (seconds < this.#span) context.fillText(seconds ? `−${seconds} s` : "now", at, bottom + 7);
    }
  }

  #drawMarkers(context, { left, right, top, bottom, end, perSecond }) {
    context.textBaseline = "top";
    context.lineWidth = 1.5;
    context.fillStyle = context.strokeStyle = colour("text");
    for (const { label, time } of this.#markers) {
      const at = right - (end - time) * perSecond;
      if (at < left || at > right) continue;
      context.beginPath();
      context.moveTo(at, top);
      context.lineTo(at, bottom);
      context.stroke();
      markerLabel(context, `▸ ${words(label)}`, at, right, top);
    }
  }

  #drawTraces(context, { right, top, row, end, perSecond }) {
    const columns = this.#channels.length, capacity = this.#times.length;
    const first = Math.max(0, this.#written - capacity);
    let begin = this.#written;
    while (begin > first && this.#times[(begin - 1) % capacity] >= end - this.#span - 0.1) begin -= 1;
    const n = this.#written - begin;
    if (n < 2) return;
    const xs = new Float32Array(n);
    const breaks = new Uint8Array(n);
    for (let i = 0; i < n; i += 1) {
      const time = this.#times[(begin + i) % capacity];
      xs[i] = right - (end - time) * perSecond;
      breaks[i] = i === 0 || Math.abs(time - this.#times[(begin + i - 1) % capacity]) > 1.6 / this.#sfreq ? 1 : 0;
    }
    context.strokeStyle = colour("trace");
    context.lineWidth = 1;
    context.lineJoin = "round";
    const gain = row / this.#scale;
    const reach = row * 1.6;
    for (let column = 0; column < columns; column += 1) {
      const middle = top + (column + 0.5) * row;
      context.beginPath();
      for (let i = 0; i < n; i += 1) {
        const offset = Math.max(-reach, Math.min(reach, this.#values[((begin + i) % capacity) * columns + column] * gain));
        if (breaks[i]) context.moveTo(xs[i], middle - offset);
        else context.lineTo(xs[i], middle - offset);
      }
      context.stroke();
    }
  }

  /** As long as one row, with what that stands for. */
  #drawScaleBar(context, right, top, row) {
    const at = right + 7;
    context.strokeStyle = context.fillStyle = colour("text");
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of [[at - 3, top], [at + 3, top], [at, top], [at, top + row], [at - 3, top + row], [at + 3, top + row]])
      if (y === top && x === at - 3) context.moveTo(x, y);
      else context.lineTo(x, y);
    context.stroke();
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(`${this.#scale} ${this.#unit}`, at + 6, top + Math.max(row / 2, 5), 46);
  }

  #drawPaused(context, middle, top) {
    context.font = "600 13px system-ui, sans-serif";
    const text = "Paused: this plot stands still, predictions go on", width = context.measureText(text).width + 28;
    context.fillStyle = colour("text");
    context.beginPath();
    context.roundRect(middle - width / 2, top + 8, width, 28, 14);
    context.fill();
    context.fillStyle = colour("card");
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, middle, top + 22.5);
  }
}
