// Event-related (de)synchronisation: how the power of a band after a cue differs from that at rest, as maps per class.

import { Plot, colour } from "./canvas.js";
import { byId, fill, write } from "./dom.js";
import { Filter, passBand } from "./filters.js";
import { ScalpMap, channels as rgb, drawHead, mixed, onHead, projected } from "./scalp.js";
import { text } from "./texts.js";
import { className } from "./words.js";

/** @typedef {import("./types.d.ts").Marker} Marker */
/** @typedef {{n: number, logRatio: Float64Array, power: Float64Array}} Average over trials of a class, per channel */

/** @type {Record<string, [number, number]>} */
const BANDS = { mu: [8, 13], beta: [13, 30] };
const BEFORE_S = [2, 0.2]; // rest, before the cue
const AFTER_S = [0.5, 3.5];
const LEAST_REST_S = 10;
const MOST_CLASSES = 6;
// Markers of a paradigm that are no class.
const OTHERS = /^(task_start|task_end|fixation|imagery_end|rest_start|rest_end|eyes_open|eyes_closed|target|reached|missed|trial_aborted|pause|resume|practice_)/;

export class Erd {
  #store;
  #band = "mu";
  /** @type {Record<string, {filter: Filter, power: Float32Array, averages: Map<string, Average>, rest: Float64Array}>} */
  #bands = {};
  /** @type {{label: string, time: number, end: number}[]} */
  #pending = [];
  /** @type {string[] | null} */
  #classes = null;
  #resting = false;
  #restRows = 0;
  #filtered = 0;
  #map = new ScalpMap();
  /** @type {{column: number, point: [number, number]}[]} */
  #electrodes = [];
  #choice = byId("erd-band", HTMLSelectElement);
  #note = byId("erd-note");
  #canvas = byId("erd", HTMLCanvasElement);
  #plot = new Plot(this.#canvas, (context, width, height) => this.#draw(context, width, height));

  /** @param {import("./signal_store.js").SignalStore} store */
  constructor(store) {
    this.#store = store;
    fill(this.#choice, Object.keys(BANDS).map((band) => [band, text(`live.erd.${band}`)]));
    this.#choice.addEventListener("change", () => {
      this.#band = this.#choice.value;
      this.#show();
    });
    byId("erd-reset").addEventListener("click", () => this.begin());
  }

  /**
   * The classes of the model: other markers are no cues. Without a model any marker that is not of a paradigm's own is one.
   * @param {string[]} classes
   */
  classes(classes) {
    this.#classes = classes.length ? classes : null;
  }

  /** Forget all trials; also where the store has begun again. */
  begin() {
    const { channels, positions, sfreq, values } = this.#store;
    const n = channels.length;
    this.#bands = Object.fromEntries(
      Object.entries(BANDS).map(([name, [low, high]]) => {
        const sections = passBand(low, high, sfreq);
        return [name, { filter: new Filter([...sections, ...sections], n), power: new Float32Array(values.length), averages: new Map(), rest: new Float64Array(n) }];
      }),
    );
    this.#pending = [];
    this.#restRows = 0;
    this.#filtered = this.#store.written;
    this.#electrodes = channels.flatMap((_, column) => {
      const position = positions[column];
      return position ? [{ column, point: projected(position) }] : [];
    });
    this.#map.place(this.#electrodes.map(({ point }) => point));
    this.#show();
  }

  /** @param {Marker} marker */
  marker({ label, time }) {
    const last = this.#pending.at(-1);
    if (label === "rest_start") this.#resting = true;
    else if (label === "rest_end" || label === "task_end") this.#resting = false;
    else if (label === "trial_aborted") this.#pending.pop();
    else if (label === "imagery_end" && last && time > last.time + 1) last.end = Math.min(last.end, time);
    else if (this.#classes ? this.#classes.includes(label) : !OTHERS.test(label)) {
      if (last) last.end = Math.min(last.end, time);
      this.#pending.push({ label, time, end: time + AFTER_S[1] });
      if (this.#pending.length > 20) this.#pending.shift();
    }
  }

  /** Rows were added to the store. */
  added() {
    const store = this.#store, n = store.channels.length;
    for (const { filter, power, rest } of Object.values(this.#bands)) {
      for (let row = Math.max(this.#filtered, store.first); row < store.written; row += 1) {
        const at = (row % store.capacity) * n;
        filter.row(store.values, power, at);
        for (let i = at; i < at + n; i += 1) {
          power[i] *= power[i];
          if (this.#resting) rest[i - at] += power[i];
        }
      }
    }
    if (this.#resting) this.#restRows += store.written - Math.max(this.#filtered, store.first);
    this.#filtered = store.written;
    // Half a second later: a trial that is aborted at its end is known by then.
    while (this.#pending.length && store.newest > this.#pending[0].end + 0.5) this.#average(/** @type {{label: string, time: number, end: number}} */ (this.#pending.shift()));
  }

  /** @param {{label: string, time: number, end: number}} trial */
  #average({ label, time, end }) {
    if (end < time + AFTER_S[0] + 1) return;
    for (const { power, averages } of Object.values(this.#bands)) {
      const before = this.#mean(power, time - BEFORE_S[0], time - BEFORE_S[1]);
      const after = this.#mean(power, time + AFTER_S[0], end);
      if (!before || !after) return;
      if (!averages.has(label) && averages.size === MOST_CLASSES) return;
      const average = averages.get(label) ?? { n: 0, logRatio: new Float64Array(before.length), power: new Float64Array(before.length) };
      averages.set(label, average);
      average.n += 1;
      before.forEach((value, i) => {
        average.logRatio[i] += (Math.log(after[i] / value) - average.logRatio[i]) / average.n;
        average.power[i] += (after[i] - average.power[i]) / average.n;
      });
    }
    this.#show();
  }

  /**
   * Mean power per channel between two times; null where the signal has a gap or is not kept.
   * @param {Float32Array} power
   * @param {number} from
   * @param {number} to
   */
  #mean(power, from, to) {
    const store = this.#store, n = store.channels.length;
    const begin = store.rowAt(from), stop = store.rowAt(to);
    if (stop - begin < 0.9 * (to - from) * store.sfreq) return null;
    const mean = new Float64Array(n);
    for (let row = begin; row < stop; row += 1) for (let i = 0; i < n; i += 1) mean[i] += power[(row % store.capacity) * n + i] / (stop - begin);
    return mean.every((value) => value > 0) ? mean : null;
  }

  get #againstRest() {
    return this.#restRows > LEAST_REST_S * this.#store.sfreq;
  }

  /**
   * Change of the power per channel, -1 to about 1: −0.5 is half of it gone.
   * @param {Average} average
   */
  #change(average) {
    const { rest } = this.#bands[this.#band];
    return average.power.map((power, i) => (this.#againstRest ? (power * this.#restRows) / rest[i] : Math.exp(average.logRatio[i])) - 1);
  }

  #show() {
    const averages = [...(this.#bands[this.#band]?.averages ?? [])];
    const reference = text(this.#againstRest ? "live.erd.rest" : "live.erd.before");
    write(this.#note, averages.length ? text("live.erd.note", { reference }) : text("live.erd.none"));
    this.#canvas.setAttribute("aria-label", `${text("live.erd.title")}: ${averages.map(([label, { n }]) => `${className(label)} (${n})`).join(", ") || text("live.erd.none")}`);
    this.#plot.touch();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #draw(context, width, height) {
    const averages = [...(this.#bands[this.#band]?.averages ?? [])].sort(([a], [b]) => a.localeCompare(b));
    const labels = averages.length ? averages : [["", null]];
    const columns = Math.min(labels.length, width < 380 ? 2 : 3), rows = Math.ceil(labels.length / columns);
    const legend = 26, cell = [width / columns, (height - legend) / rows];
    const [less, none, more] = [rgb("class-0"), rgb("card"), rgb("class-1")];
    const shade = (/** @type {number} */ value) => mixed(none, value < 0 ? less : more, Math.min(1, Math.abs(value)));
    /** @type {[string, Average | null][]} */ (labels).forEach(([label, average], i) => {
      const head = { x: cell[0] * ((i % columns) + 0.5), y: cell[1] * (Math.floor(i / columns) + 0.5) + 12, radius: Math.max(12, Math.min(cell[0] / 2.4, (cell[1] - 26) / 2.3)) };
      if (average && this.#electrodes.length) {
        const change = this.#change(average);
        this.#map.draw(context, head, this.#electrodes.map(({ column }) => change[column]), shade);
      }
      drawHead(context, head);
      context.fillStyle = colour("text");
      for (const { point } of this.#electrodes) {
        const [x, y] = onHead(head, point);
        context.fillRect(x - 1, y - 1, 2, 2);
      }
      context.textAlign = "center";
      context.textBaseline = "top";
      if (average) context.fillText(text("live.erd.trials", { name: className(label), n: average.n }), head.x, cell[1] * Math.floor(i / columns), cell[0]);
    });
    drawLegend(context, width, height, shade);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} width
 * @param {number} height
 * @param {(value: number) => [number, number, number]} shade
 */
function drawLegend(context, width, height, shade) {
  const long = Math.min(180, width * 0.45), left = (width - long) / 2;
  for (let i = 0; i < long; i += 2) {
    context.fillStyle = `rgb(${shade((2 * i) / long - 1).map(Math.round).join(" ")})`;
    context.fillRect(left + i, height - 12, 2, 10);
  }
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  context.strokeRect(left, height - 12, long, 10);
  context.fillStyle = colour("soft");
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillText("−100 %", left - 6, height - 7);
  context.textAlign = "left";
  context.fillText("+100 %", left + long + 6, height - 7);
}
