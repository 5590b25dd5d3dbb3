// Traces drawn once: a canvas on which time runs round, so that a frame copies what is there instead of drawing it again.

const ROWS_AT_ONCE = 125;

/** @typedef {{top: number, row: number, gain: number, ink: string}} Layout in device pixels */

export class TraceRing {
  #canvas = document.createElement("canvas");
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
  #origin = 0;
  #perSecond = 1;
  #visible = 0;
  #cleared = 0; // all to the left of it belongs to the last turn
  /** @type {Layout} */
  #layout = { top: 0, row: 1, gain: 1, ink: "" };

  /**
   * Begin again, with nothing drawn.
   * @param {number} width of what is shown, in device pixels
   * @param {number} height
   * @param {number} perSecond device pixels
   * @param {number} origin a time to count from
   * @param {Layout} layout
   */
  reset(width, height, perSecond, origin, layout) {
    this.#visible = width;
    this.#perSecond = perSecond;
    this.#origin = origin;
    this.#layout = layout;
    this.#canvas.width = width + Math.ceil(perSecond);
    this.#canvas.height = height;
    this.#cleared = -width;
  }

  /** @param {number} time */
  #place(time) {
    return (time - this.#origin) * this.#perSecond;
  }

  /** @param {number} place */
  #turn(place) {
    const { width } = this.#canvas;
    return ((place % width) + width) % width;
  }

  /** @param {number} place */
  #clearTo(place) {
    const { width, height } = this.#canvas;
    const to = Math.ceil(place);
    if (to <= this.#cleared) return;
    const from = Math.max(this.#cleared, to - width);
    const begin = this.#turn(from), first = Math.min(to - from, width - begin);
    this.#context.clearRect(begin, 0, first, height);
    if (to - from > first) this.#context.clearRect(0, 0, to - from - first, height);
    this.#cleared = to;
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
    const { top, row, gain, ink } = this.#layout, { width } = this.#canvas, context = this.#context;
    const columns = store.channels.length, reach = row * 1.6;
    const begin = store.breaks(from) ? from : from - 1;
    const base = Math.floor(this.#place(store.time(begin)) / width) * width;
    this.#clearTo(this.#place(store.time(to - 1)) + 2);
    const xs = new Float32Array(to - begin);
    for (let i = begin; i < to; i += 1) xs[i - begin] = this.#place(store.time(i)) - base;
    const path = new Path2D();
    for (let column = 0; column < columns; column += 1) {
      const middle = top + (column + 0.5) * row;
      for (let i = begin; i < to; i += 1) {
        const offset = Math.max(-reach, Math.min(reach, values[(i % store.capacity) * columns + column] * gain));
        if (i === begin || store.breaks(i)) path.moveTo(xs[i - begin], middle - offset);
        else path.lineTo(xs[i - begin], middle - offset);
      }
    }
    context.strokeStyle = ink;
    context.lineWidth = Math.max(1, Math.min(2, row / 14));
    context.lineJoin = "round";
    context.stroke(path);
    if (xs[xs.length - 1] < width) return;
    context.save();
    context.translate(-width, 0);
    context.stroke(path);
    context.restore();
  }

  /**
   * Copy what ends at a time onto another canvas.
   * @param {CanvasRenderingContext2D} context without a transform
   * @param {number} end
   * @param {number} left
   */
  show(context, end, left) {
    const { width, height } = this.#canvas;
    const place = Math.round(this.#place(end));
    this.#clearTo(place + 2);
    const begin = this.#turn(place - this.#visible), first = Math.min(this.#visible, width - begin);
    if (first > 0) context.drawImage(this.#canvas, begin, 0, first, height, left, 0, first, height);
    const rest = this.#visible - first;
    if (rest > 0) context.drawImage(this.#canvas, 0, 0, rest, height, left + first, 0, rest, height);
  }
}
