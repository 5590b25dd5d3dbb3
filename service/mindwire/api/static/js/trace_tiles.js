// Traces drawn once, onto narrow canvases that move to the left as a whole: a frame only moves them, and a block of samples
// changes the newest. Without it the main thread spends more than 8 ms on a frame with 64 channels (benchmarks/page.py).

import { element } from "./dom.js";

const TILE = 64; // pixels wide
const ROWS_AT_ONCE = 60;
const MARKS_KEPT = 100;

/** @typedef {{top: number, row: number, gain: number, ink: string}} Layout */
/** @typedef {{canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, index: number}} Tile */

export class TraceTiles {
  #moving;
  #origin = 0;
  #perSecond = 1;
  #visible = 0;
  #height = 0;
  #density = 1;
  #moved = "";
  /** @type {Layout} */
  #layout = { top: 0, row: 1, gain: 1, ink: "" };
  /** @type {Tile[]} */
  #tiles = [];
  /** @type {{node: HTMLElement, time: number}[]} */
  #marks = [];

  /** @param {HTMLElement} moving what is moved, in an element that hides what is outside of it */
  constructor(moving) {
    this.#moving = moving;
  }

  /**
   * Begin again, with no traces drawn.
   * @param {number} width of what is shown
   * @param {number} height
   * @param {number} density device pixels per pixel
   * @param {number} perSecond
   * @param {number} origin a time to count from
   * @param {Layout} layout
   */
  reset(width, height, density, perSecond, origin, layout) {
    this.#visible = width;
    this.#height = height;
    this.#density = density;
    this.#perSecond = perSecond;
    this.#origin = origin;
    this.#layout = layout;
    const n = Math.ceil(width / TILE) + 3;
    if (this.#tiles.length !== n) {
      for (const { canvas } of this.#tiles) canvas.remove();
      this.#tiles = Array.from({ length: n }, () => {
        const canvas = element("canvas", { "aria-hidden": "true" });
        return { canvas, context: /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), index: NaN };
      });
      this.#moving.prepend(...this.#tiles.map(({ canvas }) => canvas));
    }
    for (const tile of this.#tiles) {
      tile.canvas.width = Math.round(TILE * density);
      tile.canvas.height = Math.round(height * density);
      tile.canvas.style.width = `${TILE}px`;
      tile.canvas.style.height = `${height}px`;
      tile.index = NaN;
    }
    for (const mark of this.#marks) this.#set(mark);
  }

  /** @param {number} time */
  #place(time) {
    return (time - this.#origin) * this.#perSecond;
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
      tile.canvas.style.transform = `translateX(${index * TILE}px)`;
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
    const [first, last] = [Math.floor((xs[0] - 1) / TILE), Math.floor((xs[xs.length - 1] + 1) / TILE)];
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
    const mark = { time, node: element("span", { class: "moment" }, element("span", { text: label })) };
    this.#marks.push(mark);
    this.#moving.append(mark.node);
    this.#set(mark);
    if (this.#marks.length > MARKS_KEPT) this.#marks.shift()?.node.remove();
  }

  /** @param {{node: HTMLElement, time: number}} mark */
  #set({ node, time }) {
    node.style.transform = `translateX(${this.#place(time).toFixed(1)}px)`;
    node.style.height = `${this.#height - this.#layout.top}px`;
  }

  clearMarks() {
    for (const { node } of this.#marks) node.remove();
    this.#marks = [];
  }

  /**
   * Move all so that a time is at the right edge.
   * @param {number} end
   */
  show(end) {
    const to = Math.round((this.#visible - this.#place(end)) * this.#density) / this.#density;
    const moved = `translateX(${to}px)`;
    if (moved === this.#moved) return;
    this.#moved = moved;
    this.#moving.style.transform = moved;
  }
}
