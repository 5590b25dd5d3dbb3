// The continuous axes: a point in a square of the first two, or on a line where there is one.

import { Plot, colour } from "./canvas.js";
import { byId } from "./dom.js";
import { text } from "./texts.js";
import { className, signed, words } from "./words.js";

/** @typedef {import("./types.d.ts").Axis} Axis */

const TRAIL_MS = 800;
const CALM_MS = 500;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Axes {
  #figure = byId("axes-figure");
  #canvas = byId("axes", HTMLCanvasElement);
  #values = byId("axes-values");
  /** @type {Axis[]} */
  #axes = [];
  /** @type {{at: number[], now: number}[]} */
  #points = []; // newest last, each with the time it came
  #shownAt = 0;
  #plot = new Plot(this.#canvas, (...args) => this.#draw(...args));

  /**
   * The axes of a policy, as it lists them.
   * @param {Axis[]} axes
   */
  use(axes) {
    this.#axes = axes;
    this.#points = [];
    this.#figure.hidden = !axes.length;
    this.#figure.classList.toggle("line", axes.length === 1);
    const ends = axes.map(({ name, positive, negative }) => `${words(name)}: ${[negative, positive].map((one) => (one ? className(one) : "0")).join(" – ")}`);
    this.#canvas.setAttribute("aria-label", `${text("control.axes")}: ${ends.join(", ")}`);
    this.#values.textContent = "";
    this.#plot.touch();
  }

  /** @param {import("./types.d.ts").AxisValues} message */
  add({ values, received: now }) {
    this.#points.push({ at: this.#axes.map(({ name }) => values[name] ?? 0), now });
    while (this.#points[0].now < now - TRAIL_MS) this.#points.shift();
  }

  /**
   * Draw every frame, or twice a second and without a trail for people who want less motion.
   * @param {number} now
   */
  frame(now) {
    if (!this.#points.length || (calm.matches && now - this.#shownAt < CALM_MS)) return;
    this.#shownAt = now;
    this.#plot.touch();
    this.#values.textContent = this.#axes.map(({ name }, i) => `${words(name)} ${signed(this.#points[this.#points.length - 1].at[i], 2)}`).join("   ");
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {number} now
   */
  #draw(context, width, height, now) {
    const square = this.#axes.length > 1;
    const half = (square ? Math.min(width, height) : width) / 2 - 20;
    const x = (/** @type {number} */ value) => width / 2 + value * half;
    const y = (/** @type {number} */ value) => height / 2 - value * half;
    context.strokeStyle = colour("line");
    context.lineWidth = 1.5;
    context.beginPath();
    if (square) context.rect(x(-1), y(1), 2 * half, 2 * half);
    stroke(context, x(-1), y(0), x(1), y(0));
    if (square) stroke(context, x(0), y(-1), x(0), y(1));
    else for (const end of [-1, 0, 1]) stroke(context, x(end), y(0) - 8, x(end), y(0) + 8);
    context.stroke();
    this.#drawEnds(context, x, y, square);
    context.fillStyle = colour("accent");
    /** @returns {[number, number]} */
    const place = (/** @type {number[]} */ [across, up = 0]) => [x(across), y(square ? up : 0)];
    for (const { at, now: then } of calm.matches ? [] : this.#points) {
      context.globalAlpha = 0.25 * Math.max(0, 1 - (now - then) / TRAIL_MS);
      dot(context, ...place(at), 4);
    }
    context.globalAlpha = 1;
    context.strokeStyle = colour("card");
    context.lineWidth = 3;
    dot(context, ...place(this.#points.at(-1)?.at ?? [0, 0]), 10);
    context.stroke();
  }

  /**
   * The classes that move the point, at the ends.
   * @param {CanvasRenderingContext2D} context
   * @param {(value: number) => number} x
   * @param {(value: number) => number} y
   * @param {boolean} square
   */
  #drawEnds(context, x, y, square) {
    const [across, up] = this.#axes;
    /**
     * @param {string | null} name
     * @param {CanvasTextAlign} align
     * @param {number} atX
     * @param {number} atY
     */
    const write = (name, align, atX, atY) => {
      context.textAlign = align;
      if (name) context.fillText(className(name), atX, atY);
    };
    context.fillStyle = colour("soft");
    context.textBaseline = "middle";
    const beside = square ? y(0) - 10 : y(0) + 22, inset = square ? 5 : 0;
    write(across.negative, "left", x(-1) + inset, beside);
    write(across.positive, "right", x(1) - inset, beside);
    if (!square) return;
    write(up.positive, "center", x(0), y(1) - 10);
    write(up.negative, "center", x(0), y(-1) + 11);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} toX
 * @param {number} toY
 */
function stroke(context, x, y, toX, toY) {
  context.moveTo(x, y);
  context.lineTo(toX, toY);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 */
function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
