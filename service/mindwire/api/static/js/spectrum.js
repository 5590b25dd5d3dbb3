// Spectrum of the newest seconds by Welch's method, and the power in the bands of EEG.

import { Plot, colour } from "./canvas.js";
import { byId, element, fill, write } from "./dom.js";
import { transform } from "./filters.js";
import { text } from "./texts.js";
import { fixed, unitText } from "./words.js";

const SEGMENT_S = 2;
const SEGMENTS = 7; // half overlapping: 8 s
const LOWEST_HZ = 1;
const HIGHEST_HZ = 45;
/** @type {Record<string, [number, number]>} */
export const BANDS = { delta: [1, 4], theta: [4, 8], alpha: [8, 13], beta: [13, 30], gamma: [30, 45] };

export class Spectrum {
  #store;
  #size = 256;
  #window = new Float64Array(0);
  #nextAt = 0; // row at which a segment ends
  /** @type {Float32Array[]} */
  #segments = []; // each (channel, frequency), newest last
  #channel = byId("spectrum-channel", HTMLSelectElement);
  #bands = byId("bands");
  #note = byId("spectrum-note");
  #plot = new Plot(byId("spectrum", HTMLCanvasElement), (context, width, height) => this.#draw(context, width, height));

  /** @param {import("./signal_store.js").SignalStore} store */
  constructor(store) {
    this.#store = store;
    this.#channel.addEventListener("change", () => this.#show());
  }

  /** The store has begun again. */
  begin() {
    const { channels, sfreq } = this.#store;
    this.#size = 2 ** Math.round(Math.log2(SEGMENT_S * sfreq));
    this.#window = Float64Array.from({ length: this.#size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this.#size));
    this.#segments = [];
    this.#nextAt = this.#size;
    fill(this.#channel, [["", text("live.all_channels")], ...channels.map((name) => /** @type {[string, string]} */ ([name, name]))]);
    this.#show();
  }

  /** @param {string} name of a channel */
  choose(name) {
    this.#channel.value = name;
    this.#show();
  }

  /** Rows were added to the store. */
  added() {
    const store = this.#store, size = this.#size;
    if (store.written < this.#nextAt) return;
    const begin = store.written - size;
    this.#nextAt = store.written + size / 2;
    if (!(store.newest - store.time(begin) < (size + 1) / store.sfreq)) return; // a gap
    const bins = size / 2, columns = store.channels.length;
    const segment = new Float32Array(columns * bins);
    const re = new Float64Array(size), im = new Float64Array(size);
    const norm = 1 / (store.sfreq * this.#window.reduce((sum, value) => sum + value * value, 0));
    for (let column = 0; column < columns; column += 2) {
      const two = column + 1 < columns; // two real signals in one complex transform
      for (let i = 0; i < size; i += 1) {
        const at = ((begin + i) % store.capacity) * columns + column;
        re[i] = store.values[at] * this.#window[i];
        im[i] = two ? store.values[at + 1] * this.#window[i] : 0;
      }
      transform(re, im);
      for (let k = 1; k < bins; k += 1) {
        const a = re[k], b = im[k], c = re[size - k], d = im[size - k];
        segment[column * bins + k] = (((a + c) ** 2 + (b - d) ** 2) / 4) * 2 * norm;
        if (two) segment[(column + 1) * bins + k] = (((b + d) ** 2 + (c - a) ** 2) / 4) * 2 * norm;
      }
    }
    this.#segments.push(segment);
    if (this.#segments.length > SEGMENTS) this.#segments.shift();
    this.#show();
  }

  /**
   * Mean density of a channel, or of all for -1, per frequency; null before there is a segment.
   * @param {number} column
   */
  #density(column) {
    const bins = this.#size / 2, columns = this.#store.channels.length;
    if (!this.#segments.length) return null;
    const mean = new Float64Array(bins);
    const chosen = column < 0 ? Array.from({ length: columns }, (_, i) => i) : [column];
    for (const segment of this.#segments)
      for (const one of chosen) for (let k = 0; k < bins; k += 1) mean[k] += segment[one * bins + k] / (this.#segments.length * chosen.length);
    return mean;
  }

  /**
   * Power of each channel in a band; null before there is a segment.
   * @param {string} band
   */
  powers(band) {
    if (!this.#segments.length) return null;
    return this.#store.channels.map((_, column) => this.#power(/** @type {Float64Array} */ (this.#density(column)), BANDS[band]));
  }

  /**
   * @param {Float64Array} density
   * @param {[number, number]} band
   */
  #power(density, [low, high]) {
    const step = this.#store.sfreq / this.#size;
    return density.reduce((sum, value, k) => (k * step >= low && k * step < high ? sum + value * step : sum), 0);
  }

  get #column() {
    return this.#store.channels.indexOf(this.#channel.value);
  }

  #show() {
    this.#plot.touch();
    const density = this.#density(this.#column);
    const unit = `${unitText(this.#store.unit)}²`;
    write(this.#note, text("live.spectrum_note", { seconds: (this.#segments.length + 1) * (SEGMENT_S / 2) }));
    const powers = Object.entries(BANDS).map(([name, band]) => /** @type {[string, number]} */ ([name, density ? this.#power(density, band) : NaN]));
    const most = Math.max(...powers.map(([, power]) => power));
    if (this.#bands.children.length !== powers.length)
      this.#bands.replaceChildren(...powers.map(([name]) => element("li", {}, element("span", { text: text(`live.band.${name}`) }), element("span", { class: "track" }, element("span", { class: "fill" })), element("span", { class: "value" }))));
    powers.forEach(([, power], i) => {
      const [, track, value] = this.#bands.children[i].children;
      /** @type {HTMLElement} */ (track.firstElementChild).style.transform = `scaleX(${power / most || 0})`;
      write(value, Number.isFinite(power) ? `${fixed(power, power < 10 ? 2 : power < 100 ? 1 : 0)} ${unit}` : "–");
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #draw(context, width, height) {
    const left = 40, right = width - 8, top = 20, bottom = height - 34;
    const highest = Math.min(HIGHEST_HZ, this.#store.sfreq / 2 - 2);
    const x = (/** @type {number} */ hertz) => left + ((hertz - LOWEST_HZ) / (highest - LOWEST_HZ)) * (right - left);
    this.#drawBands(context, x, top, bottom, highest);
    const all = this.#density(-1);
    if (!all) {
      context.textAlign = "center";
      context.fillText(text("live.waiting_signal"), (left + right) / 2, (top + bottom) / 2);
      return;
    }
    const chosen = this.#column < 0 ? null : this.#density(this.#column);
    const step = this.#store.sfreq / this.#size;
    const decibel = (/** @type {Float64Array} */ density) =>
      Array.from(density, (value, k) => /** @type {[number, number]} */ ([k * step, 10 * Math.log10(Math.max(value, 1e-9))])).filter(([hertz]) => hertz >= LOWEST_HZ && hertz <= highest);
    const curves = [decibel(all), ...(chosen ? [decibel(chosen)] : [])];
    const levels = curves.flat().map(([, level]) => level);
    const floor = Math.max(Math.floor(Math.min(...levels) / 10) * 10, Math.max(...levels) - 60), ceiling = Math.ceil(Math.max(...levels) / 10) * 10;
    const y = (/** @type {number} */ level) => bottom - ((Math.max(level, floor) - floor) / (ceiling - floor || 1)) * (bottom - top);
    context.fillStyle = colour("soft");
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let level = Math.ceil(floor / 10) * 10; level <= ceiling; level += (ceiling - floor) / 10 > 4 ? 20 : 10) {
      context.beginPath();
      context.moveTo(left, y(level));
      context.lineTo(right, y(level));
      context.stroke();
      context.fillText(String(level).replace("-", "−"), left - 6, y(level));
    }
    curves.forEach((curve, i) => {
      context.strokeStyle = colour(i === curves.length - 1 ? "accent" : "faint");
      context.lineWidth = i === curves.length - 1 ? 2 : 1.5;
      context.beginPath();
      for (const [hertz, level] of curve) context.lineTo(x(hertz), y(level));
      context.stroke();
    });
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(hertz: number) => number} x
   * @param {number} top
   * @param {number} bottom
   * @param {number} highest
   */
  #drawBands(context, x, top, bottom, highest) {
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    Object.entries(BANDS).forEach(([name, [low, high]], i) => {
      const end = Math.min(high, highest);
      if (end <= low) return;
      context.fillStyle = colour("track");
      if (i % 2) context.fillRect(x(low), top, x(end) - x(low), bottom - top);
      context.fillStyle = colour("soft");
      context.fillText(text(`live.band_sign.${name}`), (x(low) + x(end)) / 2, top - 6);
    });
    context.textBaseline = "top";
    for (const hertz of [1, 4, 8, 13, 20, 30, 40]) if (hertz <= highest) context.fillText(String(hertz), x(hertz), bottom + 5);
    context.textAlign = "right";
    context.fillText(`Hz · dB (${unitText(this.#store.unit)}²/Hz)`, x(highest), bottom + 19);
  }
}
