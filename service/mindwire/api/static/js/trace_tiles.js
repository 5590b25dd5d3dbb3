// Traces drawn once, onto narrow canvases side by side, over what was there a span ago: a block of samples changes one or two of them, and
// the others stand still: for traces that move, the compositor would draw all of them for each frame.

import { element } from "./dom.js";

const TILE = 64; // pixels wide
const ROWS_AT_ONCE = 60;
const MARKS_KEPT = 100;

/** @typedef {{top: number, row: number, gain: number, ink: string}} Layout */
/** @typedef {{canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, index: number}} Tile */

export class TraceTiles {
  #box;
  #head = element("span", { class: "sweep", "aria-hidden": "true" });
  #headAt = NaN;
  #origin = 0;
  #perSecond = 1;
  #height = 0;
  #density = 1;
  /** @type {Layout} */
  #layout = { top: 0, row: 1, gain: 1, ink: "" };
  /** @type {Tile[]} */
  #tiles = [];
  /** @type {{node: HTMLElement, time: number}[]} */
  #marks = [];

  /** @param {HTMLElement} box what they are put in, whose position is not static */
  constructor(box) {
    this.#box = box;
    box.append(this.#head);
  }

  /** The pixels that a span takes of a width. @param {number} width */
  static widthIn(width) {
    return Math.floor(width / TILE) * TILE;
  }

  /**
   * Begin again, with no traces drawn; a time keeps its place if width and span do.
   * @param {number} width of a span, as {@link TraceTiles.widthIn} returns it
   * @param {number} height
   * @param {number} density device pixels per pixel
   * @param {number} span in seconds
   * @param {number} time about which samples are
   * @param {Layout} layout
   */
  reset(width, height, density, span, time, layout) {
    this.#height = height;
    this.#density = density;
    this.#perSecond = width / span;
    this.#origin = (Math.floor(time / span) - 1) * span; // near, for a canvas counts in single precision
    this.#layout = layout;
    const n = width / TILE;
    if (this.#tiles.length !== n) {
      for (const { canvas } of this.#tiles) canvas.remove();
      this.#tiles = Array.from({ length: n }, (_, index) => {
        const canvas = element("canvas", { "aria-hidden": "true" });
        canvas.style.left = `${index * TILE}px`;
        return { canvas, context: /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), index: NaN };
      });
      this.#box.prepend(...this.#tiles.map(({ canvas }) => canvas));
    }
    for (const tile of this.#tiles) {
      tile.canvas.width = Math.round(TILE * density);
      tile.canvas.height = Math.round(height * density);
      tile.canvas.style.width = `${TILE}px`;
      tile.canvas.style.height = `${height}px`;
      tile.index = NaN;
    }
    this.#head.style.top = `${layout.top}px`;
    this.#head.style.height = `${height - layout.top}px`;
    for (const mark of this.#marks) this.#set(mark);
  }

  /** Pixels from the origin, however many spans ago that is. @param {number} time */
  #place(time) {
    return (time - this.#origin) * this.#perSecond;
  }

  /** Pixels from the left edge. @param {number} place */
  #wrapped(place) {
    const width = this.#tiles.length * TILE;
    return ((place % width) + width) % width;
  }

  /**
   * The tile of an index, empty if it was another's until now.
   * @param {number} index
   */
  #tile(index) {
    const n = this.#tiles.length, tile = this.#tiles[((index % n) + n) % n];
    if (tile.index !== index) {
      tile.index = index;
      tile.context.setTransform(1, 0, 0, 1, 0, 0);
      tile.context.clearRect(0, 0, tile.canvas.width, tile.canvas.height);
      tile.context.setTransform(this.#density, 0, 0, this.#density, -index * TILE * this.#density, 0);
    }
    return tile;
  }

  /**
   * Draw rows of a store.
   * @param {import("./signal_store.js").SignalStore} store
   * @param {Float32Array} values in the store's order, perhaps filtered
   * @param {number} from row
   * @param {number} to row
   */
  add(store, values, from, to) {
    for (let begin = from; begin < to; begin += ROWS_AT_ONCE) this.#stroke(store, values, begin, Math.min(to, begin + ROWS_AT_ONCE));
  }

  /**
   * @param {import("./signal_store.js").SignalStore} store
   * @param {Float32Array} values
   * @param {number} from
   * @param {number} to
   */
  #stroke(store, values, from, to) {
    const { top, row, gain, ink } = this.#layout;
    const columns = store.channels.length, reach = row * 1.6;
    const begin = store.breaks(from) ? from : from - 1;
    const xs = Float64Array.from({ length: to - begin }, (_, i) => this.#place(store.time(begin + i)));
    const breaks = Uint8Array.from(xs, (_, i) => Number(i === 0 || store.breaks(begin + i)));
    const path = new Path2D();
    for (let column = 0; column < columns; column += 1) {
      const middle = top + (column + 0.5) * row;
      for (let i = 0; i < xs.length; i += 1) {
        const offset = Math.max(-reach, Math.min(reach, values[((begin + i) % store.capacity) * columns + column] * gain));
        if (breaks[i]) path.moveTo(xs[i], middle - offset);
        else path.lineTo(xs[i], middle - offset);
      }
    }
    // from the row before on, across a gap: what a span ago was drawn there is cleared
    const before = from > store.first ? this.#place(store.time(from - 1)) : xs[0];
    const first = Math.floor((Math.min(before, ...xs) - 1) / TILE), last = Math.floor((Math.max(...xs) + 1) / TILE);
    for (let index = Math.max(first, last - this.#tiles.length + 1); index <= last; index += 1) {
      const { context } = this.#tile(index);
      context.strokeStyle = ink;
      context.lineWidth = Math.max(1, Math.min(2, row / 14));
      context.lineJoin = "round";
      context.stroke(path);
    }
  }

  /**
   * A line with a label at a time.
   * @param {number} time
   * @param {string} label
   */
  mark(time, label) {
    const mark = { time, node: element("span", { class: "moment", hidden: "" }, element("span", { text: label })) };
    if (this.#marks.length >= MARKS_KEPT) this.#marks.splice(Math.max(0, this.#marks.findIndex(({ node }) => node.hidden)), 1)[0].node.remove();
    this.#marks.push(mark);
    this.#box.append(mark.node);
    this.#set(mark);
  }

  /** @param {{node: HTMLElement, time: number}} mark */
  #set({ node, time }) {
    node.style.left = `${this.#wrapped(this.#place(time)).toFixed(1)}px`;
    node.style.height = `${this.#height - this.#layout.top}px`;
  }

  clearMarks() {
    for (const { node } of this.#marks) node.remove();
    this.#marks = [];
  }

  /**
   * Put the head where the newest sample is, show the marks of the span before it, and take away older ones.
   * @param {number} newest
   */
  show(newest) {
    const oldest = newest - (this.#tiles.length * TILE) / this.#perSecond;
    for (const { node, time } of this.#marks) {
      node.hidden = time > newest;
      if (time < oldest) node.remove();
    }
    this.#marks = this.#marks.filter(({ time }) => time >= oldest);
    const at = Math.round(this.#wrapped(this.#place(newest)));
    if (at === this.#headAt) return;
    this.#headAt = at;
    this.#head.style.transform = `translateX(${at}px)`;
  }
}
