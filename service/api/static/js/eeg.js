// The strip of conditioned EEG: one row per channel, newest at the right.

import { Plot, RemoteClock, colour } from "./canvas.js";
import { unitText } from "./words.js";

const KEPT_S = 21;
const SCALES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000];
const AUTO_EVERY_MS = 1000;
const FRAME_MS = 30;

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
  #note = document.getElementById("eeg-note");
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
    this.#note.textContent = `${channels.length} channels, as the model's filters pass it, drawn at ${sfreq.toFixed(0)} Hz`;
    this.#showScale();
    this.#plot.touch();
  }

  clear() {
    this.#times.fill(NaN);
    this.#written = 0;
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
    const left = 46, right = width - 8, top = 10, bottom = height - 22;
    const columns = this.#channels.length || 1;
    const row = (bottom - top) / columns;
    const end = this.#clock.now(this.#pausedAt ?? now) ?? 0;
    const perSecond = (right - left) / this.#span;
    context.textBaseline = "middle";
    context.font = `${Math.max(9, Math.min(12, row - 2))}px system-ui, sans-serif`;
    context.textAlign = "right";
    context.fillStyle = colour("soft");
    this.#channels.forEach((name, index) => context.fillText(name, left - 8, top + (index + 0.5) * row, left - 10));
    this.#drawSeconds(context, left, right, top, bottom, end, perSecond);
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    this.#drawTraces(context, { right, top, row, end, perSecond });
    context.restore();
    this.#drawScaleBar(context, right, top, row);
  }

  #drawSeconds(context, left, right, top, bottom, end, perSecond) {
    context.font = "12px system-ui, sans-serif";
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.textAlign = "center";
    context.textBaseline = "top";
    context.beginPath();
    for (let second = Math.ceil(end - this.#span); second <= end; second += 1) {
      const at = right - (end - second) * perSecond;
      context.moveTo(at, top);
      context.lineTo(at, bottom);
    }
    context.stroke();
    const step = this.#span / 5;
    for (let seconds = step; seconds < this.#span; seconds += step) context.fillText(`−${seconds} s`, right - seconds * perSecond, bottom + 7);
    context.textAlign = "right";
    context.fillText("now", right, bottom + 7);
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

  /** As long as one row, which stands for the scale. */
  #drawScaleBar(context, right, top, row) {
    context.strokeStyle = colour("text");
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(right + 4, top);
    context.lineTo(right + 4, top + row);
    context.stroke();
  }
}
