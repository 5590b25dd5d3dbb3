// The scalp map of the channels: their quality, or the power in a band.

import { Plot, colour } from "./canvas.js";
import { byId, element, fill, write } from "./dom.js";
import { ScalpMap, channels as rgb, drawHead, mixed, onHead, projected } from "./scalp.js";
import { BANDS } from "./spectrum.js";
import { plural, text } from "./texts.js";
import { fixed, reasonsText, unitText } from "./words.js";

/** @typedef {import("./types.d.ts").ChannelQuality} ChannelQuality */

const SIGNS = { ok: "", suspect: "!", bad: "✕" };

export class QualityMap {
  #store;
  #spectrum;
  #canvas = byId("scalp", HTMLCanvasElement);
  #choice = byId("scalp-choice", HTMLSelectElement);
  #note = byId("scalp-note");
  #offHead = byId("scalp-off");
  #map = new ScalpMap();
  /** @type {{label: string, column: number, point: [number, number]}[]} */
  #electrodes = [];
  /** @type {Map<string, ChannelQuality>} */
  #quality = new Map();
  /** @type {{x: number, y: number, radius: number}} */
  #head = { x: 0, y: 0, radius: 1 };
  #plot = new Plot(this.#canvas, (context, width, height) => this.#draw(context, width, height));

  /**
   * @param {import("./signal_store.js").SignalStore} store
   * @param {import("./spectrum.js").Spectrum} spectrum
   */
  constructor(store, spectrum) {
    this.#store = store;
    this.#spectrum = spectrum;
    fill(this.#choice, [["quality", text("live.map.quality")], ...Object.keys(BANDS).map((band) => /** @type {[string, string]} */ ([band, text(`live.band.${band}`)]))]);
    this.#choice.addEventListener("change", () => this.#changed());
    this.#canvas.addEventListener("click", ({ offsetX, offsetY }) => {
      const near = this.#electrodes.find(({ point }) => {
        const [x, y] = onHead(this.#head, point);
        return Math.hypot(x - offsetX, y - offsetY) < this.#size;
      });
      if (near) spectrum.choose(near.label);
    });
  }

  /** The store has begun again. */
  begin() {
    const { channels, positions } = this.#store;
    this.#electrodes = channels.flatMap((label, column) => {
      const position = positions[column];
      return position ? [{ label, column, point: projected(position) }] : [];
    });
    this.#map.place(this.#electrodes.map(({ point }) => point));
    this.#changed();
  }

  clear() {
    this.#quality = new Map();
    this.#changed();
  }

  /** @param {ChannelQuality[]} channels */
  quality(channels) {
    this.#quality = new Map(channels.map((channel) => [channel.label, channel]));
    this.#changed();
  }

  /** Powers may be others now. */
  powers() {
    if (this.#choice.value !== "quality") this.#changed();
  }

  #changed() {
    this.#plot.touch();
    const verdicts = [...this.#quality.values()];
    const n = (/** @type {string} */ verdict) => verdicts.filter((channel) => channel.verdict === verdict).length;
    const sentence = verdicts.length ? text("live.map.summary", { ok: n("ok"), suspect: n("suspect"), bad: n("bad") }) : text("live.map.unknown");
    write(this.#note, this.#choice.value === "quality" ? sentence : text("live.map.power"));
    const label = `${text("live.map.title")}: ${sentence}`;
    if (this.#canvas.getAttribute("aria-label") !== label) this.#canvas.setAttribute("aria-label", label);
    const off = this.#store.channels.filter((_, column) => !this.#store.positions[column]);
    this.#offHead.hidden = !off.length;
    if (off.length) this.#offHead.replaceChildren(`${plural("live.map.off", off.length)} `, ...off.map((name) => this.#chip(name)));
  }

  /** @param {string} name of a channel without a place on the head */
  #chip(name) {
    const channel = this.#quality.get(name);
    const sign = channel ? SIGNS[channel.verdict] : "";
    return element("span", { class: `chip ${channel?.verdict ?? ""}`, title: channel ? reasonsText(channel.reasons) : "", text: sign ? `${name} ${sign}` : name });
  }

  /** Radius of an electrode on the canvas: as large as its neighbours allow. */
  get #size() {
    const points = this.#electrodes.map(({ point }) => point);
    let nearest = 0.36;
    points.forEach(([x, y], i) => {
      for (const [u, v] of points.slice(i + 1)) nearest = Math.min(nearest, Math.hypot(x - u, y - v));
    });
    return Math.max(5, Math.min(19, nearest * this.#head.radius * 0.47));
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  #draw(context, width, height) {
    const head = { x: width / 2, y: height / 2 + 8, radius: Math.max(20, Math.min(width / 2.25, height / 2.3)) };
    this.#head = head;
    const size = this.#size;
    const powers = this.#choice.value === "quality" ? null : this.#spectrum.powers(this.#choice.value);
    if (powers && this.#electrodes.length) this.#drawPowers(context, head, powers, height);
    drawHead(context, head);
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { label, point } of this.#electrodes) {
      const [x, y] = onHead(head, point);
      if (this.#choice.value === "quality") this.#drawElectrode(context, x, y, size, label);
      else {
        context.fillStyle = colour("text");
        context.beginPath();
        context.arc(x, y, 2, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} x
   * @param {number} y
   * @param {number} size
   * @param {string} label
   */
  #drawElectrode(context, x, y, size, label) {
    const verdict = this.#quality.get(label)?.verdict;
    const ink = verdict === "bad" ? "bad" : verdict === "suspect" ? "warn" : verdict ? "good" : "soft";
    context.fillStyle = verdict ? colour(`${ink}-ground`) : colour("track");
    context.strokeStyle = colour(ink);
    context.lineWidth = verdict === "bad" ? 3 : 1.5;
    context.beginPath();
    if (verdict === "bad") context.rect(x - size * 0.9, y - size * 0.9, size * 1.8, size * 1.8);
    else context.arc(x, y, size, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.fillStyle = colour(ink);
    const sign = verdict ? SIGNS[verdict] : "";
    if (size >= 11) {
      context.font = `${Math.min(11, size * 0.72)}px system-ui, sans-serif`;
      context.fillText(label, x, sign ? y - size * 0.28 : y, size * 1.8);
      if (sign) context.fillText(sign, x, y + size * 0.42);
    } else if (sign) {
      context.font = `${size * 1.3}px system-ui, sans-serif`;
      context.fillText(sign, x, y);
      context.font = "600 11px system-ui, sans-serif";
      context.fillText(label, x, y - size - 7);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {{x: number, y: number, radius: number}} head
   * @param {number[]} powers by channel
   * @param {number} height
   */
  #drawPowers(context, head, powers, height) {
    const decibels = this.#electrodes.map(({ column }) => 10 * Math.log10(Math.max(powers[column], 1e-9)));
    const low = Math.min(...decibels), high = Math.max(...decibels, low + 1);
    const [from, to] = [rgb("card"), rgb("accent")];
    this.#map.draw(context, head, decibels, (value) => mixed(from, to, 0.08 + 0.85 * ((value - low) / (high - low))));
    context.fillStyle = colour("soft");
    context.textAlign = "left";
    context.textBaseline = "bottom";
    const [least, most] = [low, high].map((level) => fixed(10 ** (level / 10), 1));
    context.fillText(`${least} – ${most} ${unitText(this.#store.unit)}²`, 0, height);
  }
}
