// The strip of conditioned EEG: one row per channel, drawn from left to right over what was there a span ago.

import { Plot, colour } from "./canvas.js";
import { byId, fill, write } from "./dom.js";
import { Filter, passBand } from "./filters.js";
import { text } from "./texts.js";
import { TraceTiles } from "./trace_tiles.js";
import { fixed, markerText, reasonsText, unitText } from "./words.js";

/** @typedef {import("./types.d.ts").ChannelQuality} ChannelQuality */

const SCALES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000];
const AUTO_EVERY_MS = 1000;
const LEAST_ROW_PX = 15;
const ALL_CHANNELS = 6; // a list of more is not read
const LEFT = 52, RIGHT = 58, TOP = 28, BOTTOM = 22;
/** @type {Record<string, [number | null, number | null]>} */
const FILTERS = { none: [null, null], high: [1, null], low: [null, 30], mu_beta: [8, 30], mu: [8, 13], beta: [13, 30] };

export class Eeg {
  #store;
  #tiles = new TraceTiles(byId("eeg"));
  /** @type {Filter | null} */
  #filter = null;
  #shown = new Float32Array(0); // filtered, in the store's order
  #filtered = 0; // rows
  #drawn = 0; // rows in the tiles
  #stale = true; // the tiles have to be drawn again
  #span = 10;
  #scale = 100; // unit per row
  #auto = true;
  #autoAt = 0;
  /** @type {number | null} */
  #pausedAt = null; // time of the newest sample that is shown
  #newest = NaN; // time of the newest sample that is drawn
  /** @type {Map<string, ChannelQuality>} */
  #verdicts = new Map();
  #strip = byId("eeg-strip");
  #size = { width: 0, height: 0 };
  #note = byId("eeg-note");
  #badText = byId("eeg-bad");
  #scaleText = byId("eeg-scale");
  #choice = byId("eeg-filter", HTMLSelectElement);
  #axes = new Plot(byId("eeg-axes", HTMLCanvasElement), (context, width, height) => this.#drawAxes(context, width, height));

  /** @param {import("./signal_store.js").SignalStore} store that the blocks are added to */
  constructor(store) {
    this.#store = store;
    byId("eeg-less").addEventListener("click", () => this.#step(1));
    byId("eeg-more").addEventListener("click", () => this.#step(-1));
    byId("eeg-auto").addEventListener("click", () => this.#setAuto(!this.#auto));
    byId("eeg-pause").addEventListener("click", () => this.#pause());
    byId("eeg-span", HTMLSelectElement).addEventListener("change", (event) => {
      this.#span = Number(/** @type {HTMLSelectElement} */ (event.target).value);
      this.#again();
    });
    fill(this.#choice, Object.keys(FILTERS).map((name) => [name, text(`live.filter.${name}`)]));
    this.#choice.addEventListener("change", () => {
      this.#useFilter();
      this.#autoAt = 0;
      this.#again();
    });
    document.addEventListener("themechange", () => this.#again());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#again());
    new ResizeObserver(([{ contentRect }]) => {
      this.#size = contentRect;
      this.#again();
    }).observe(this.#strip);
  }

  /** The store has begun again. */
  begin() {
    const { channels, sfreq } = this.#store;
    this.#autoAt = 0;
    this.#drawn = 0;
    this.#tiles.clearMarks();
    this.#setPause(null);
    this.#useFilter();
    this.#note.textContent = text("live.eeg_note", { n: channels.length, rate: fixed(sfreq, 0) });
    this.#strip.style.minHeight = `${channels.length * LEAST_ROW_PX + 50}px`;
    this.#showScale();
    this.#again();
  }

  clear() {
    this.#tiles.clearMarks();
    this.#drawn = this.#filtered = 0;
    this.#setPause(null);
    this.quality([]);
    this.#again();
  }

  /** Draw the traces and the axes again. */
  #again() {
    this.#stale = true;
    this.#axes.touch();
  }

  #useFilter() {
    const [low, high] = FILTERS[this.#choice.value] ?? FILTERS.none;
    const sections = passBand(low, high, this.#store.sfreq);
    this.#filter = sections.length ? new Filter(sections, this.#store.channels.length) : null;
    this.#shown = this.#filter ? new Float32Array(this.#store.values.length) : this.#store.values;
    this.#filtered = this.#store.first;
    this.#runFilter();
  }

  #runFilter() {
    const store = this.#store;
    if (this.#filter)
      for (let row = Math.max(this.#filtered, store.first); row < store.written; row += 1) this.#filter.row(store.values, this.#shown, (row % store.capacity) * store.channels.length);
    this.#filtered = store.written;
  }

  /**
   * Channels that are not well, from the stream's status: marked in the plot and named below its title.
   * @param {ChannelQuality[]} channels
   */
  quality(channels) {
    const ill = channels.filter(({ verdict }) => verdict !== "ok");
    this.#verdicts = new Map(ill.map((channel) => [channel.label, channel]));
    const sentences = ["bad", "suspect"].map((verdict) => {
      const some = ill.filter((channel) => channel.verdict === verdict);
      if (!some.length) return "";
      const named = some.slice(0, ALL_CHANNELS).map(({ label, reasons }) => `${label} (${reasonsText(reasons)})`).join(", ");
      const more = some.length > ALL_CHANNELS ? ` ${text("live.and_more", { n: some.length - ALL_CHANNELS })}` : "";
      return `${text(`live.${verdict}`)}: ${named}${more}`;
    });
    write(this.#badText, sentences.filter(Boolean).join(" · "));
    this.#badText.classList.toggle("bad", ill.some(({ verdict }) => verdict === "bad"));
    this.#axes.touch();
  }

  /**
   * A marker of the network, or a cue of the demonstration.
   * @param {import("./types.d.ts").Marker} marker
   */
  marker({ label, time }) {
    this.#tiles.mark(time, `▸ ${markerText(label)}`);
  }

  /** Rows were added to the store. */
  added() {
    this.#runFilter();
  }

  /** @param {number} now */
  frame(now) {
    if (!this.#store.written) return;
    if (this.#auto && this.#pausedAt === null && now >= this.#autoAt) this.#fit(now);
    this.#draw();
  }

  #pause() {
    this.#setPause(this.#pausedAt === null && this.#store.written ? this.#store.newest : null);
  }

  /** @param {number | null} at */
  #setPause(at) {
    const button = byId("eeg-pause");
    this.#pausedAt = at;
    button.setAttribute("aria-pressed", String(this.#pausedAt !== null));
    button.textContent = this.#pausedAt === null ? text("live.pause") : text("live.resume");
    byId("eeg-paused").hidden = this.#pausedAt === null;
    this.#again();
  }

  /** @param {boolean} value */
  #setAuto(value) {
    this.#auto = value;
    this.#autoAt = 0;
    byId("eeg-auto").setAttribute("aria-pressed", String(value));
  }

  /** @param {number} direction */
  #step(direction) {
    this.#setAuto(false);
    const index = SCALES.indexOf(this.#scale) + direction;
    this.#scale = SCALES[Math.max(0, Math.min(SCALES.length - 1, index))];
    this.#showScale();
    this.#again();
  }

  #showScale() {
    this.#scaleText.textContent = text("live.per_row", { scale: `${this.#scale} ${unitText(this.#store.unit)}` });
  }

  /**
   * The smallest scale whose row holds most of the recent signal; changes only when clearly wrong.
   * @param {number} now
   */
  #fit(now) {
    const { written, capacity, sfreq, channels } = this.#store;
    this.#autoAt = now + AUTO_EVERY_MS;
    const recent = Math.min(written, Math.round(4 * sfreq), capacity);
    if (recent < sfreq) {
      this.#autoAt = now + 200;
      if (recent < sfreq / 4) return;
    }
    const sizes = [];
    for (let i = written - recent; i < written; i += 3)
      for (let column = 0; column < channels.length; column += 2) sizes.push(Math.abs(this.#shown[(i % capacity) * channels.length + column]));
    const sorted = Float32Array.from(sizes).sort();
    const wanted = sorted[Math.floor(sorted.length * 0.98)] * 1.8;
    if (wanted <= this.#scale && wanted > this.#scale * 0.35) return;
    this.#scale = SCALES.find((scale) => scale >= wanted) ?? SCALES[SCALES.length - 1];
    this.#showScale();
    this.#again();
  }

  /** Draw rows that are new. */
  #draw() {
    const store = this.#store, { width, height } = this.#size;
    const visible = TraceTiles.widthIn(width - LEFT - RIGHT), newest = this.#pausedAt ?? store.newest;
    if (visible <= 0 || !store.channels.length) return;
    if (Math.abs(newest - this.#newest) > this.#span) this.#stale = true; // nothing that is drawn is still of this span
    this.#newest = newest;
    if (this.#stale) {
      this.#stale = false;
      const row = (height - BOTTOM - TOP) / store.channels.length;
      const layout = { top: TOP, row, gain: row / this.#scale, ink: colour("trace") };
      this.#tiles.reset(visible, height, Math.min(window.devicePixelRatio || 1, 2), this.#span, newest, layout);
      this.#drawn = store.rowAt(newest - this.#span);
    }
    const to = this.#pausedAt === null ? store.written : Math.min(store.rowAt(newest) + 1, store.written);
    this.#tiles.add(store, this.#shown, Math.max(this.#drawn, store.first), to);
    this.#drawn = Math.max(this.#drawn, to);
    this.#tiles.show(newest);
  }

  /**
   * Channel names, seconds and the scale, which stand still.
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #drawAxes(context, width, height) {
    const right = LEFT + TraceTiles.widthIn(width - LEFT - RIGHT), bottom = height - BOTTOM;
    const row = (bottom - TOP) / (this.#store.channels.length || 1);
    this.#drawNames(context, right, row);
    this.#drawSeconds(context, right, bottom);
    this.#drawScaleBar(context, right, row);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} right
   * @param {number} row
   */
  #drawNames(context, right, row) {
    context.font = `${Math.max(10, Math.min(12, row - 2))}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    this.#store.channels.forEach((name, index) => {
      const middle = TOP + (index + 0.5) * row, channel = this.#verdicts.get(name);
      if (channel) {
        context.fillStyle = colour(channel.verdict === "bad" ? "bad-ground" : "warn-ground");
        context.fillRect(0, middle - row / 2, right, row);
        context.fillStyle = colour(channel.verdict === "bad" ? "bad" : "warn");
        context.textAlign = "left";
        context.fillText(channel.verdict === "bad" ? "✕" : "!", 2, middle);
      } else context.fillStyle = colour("soft");
      context.textAlign = "right";
      context.fillText(name, LEFT - 8, middle, LEFT - 22);
    });
  }

  /**
   * Lines at equal distances, and the seconds from the left edge to them.
   * @param {CanvasRenderingContext2D} context
   * @param {number} right
   * @param {number} bottom
   */
  #drawSeconds(context, right, bottom) {
    const perSecond = (right - LEFT) / this.#span;
    context.font = "12px system-ui, sans-serif";
    context.strokeStyle = colour("line");
    context.fillStyle = colour("soft");
    context.lineWidth = 1;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let seconds = 0; seconds <= this.#span; seconds += this.#span / 5) {
      const at = LEFT + seconds * perSecond;
      context.beginPath();
      context.moveTo(at, TOP);
      context.lineTo(at, bottom);
      context.stroke();
      context.fillText(`${seconds} s`, at, bottom + 7);
    }
  }

  /**
   * As long as one row, with what that stands for.
   * @param {CanvasRenderingContext2D} context
   * @param {number} right
   * @param {number} row
   */
  #drawScaleBar(context, right, row) {
    const at = right + 7;
    context.strokeStyle = context.fillStyle = colour("text");
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of [[at - 3, TOP], [at + 3, TOP], [at, TOP], [at, TOP + row], [at - 3, TOP + row], [at + 3, TOP + row]])
      if (y === TOP && x === at - 3) context.moveTo(x, y);
      else context.lineTo(x, y);
    context.stroke();
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(`${this.#scale} ${unitText(this.#store.unit)}`, at + 6, TOP + Math.max(row / 2, 5), 46);
  }
}
