// The head from above, nose up: electrodes by their place, and maps of values between them.

import { colour } from "./canvas.js";

/** @typedef {import("./types.d.ts").Position} Position */
/** @typedef {{x: number, y: number, radius: number}} Head centre and radius, in pixels */

const GRID = 56; // pixels of a map, on a side
const WIDTH = 0.16; // of the Gaussian between electrodes, in radii of the head
const EDGE = 1.04;

/**
 * A place on the head as a point in the unit circle, whose edge is the level of the ears; y upwards to the nose.
 * @param {Position} position
 * @returns {[number, number]}
 */
export function projected([x, y, z]) {
  const polar = Math.acos(Math.max(-1, Math.min(1, z))) / (Math.PI / 2), across = Math.hypot(x, y) || 1;
  return [(polar * x) / across, (polar * y) / across];
}

/**
 * The point of a place on the canvas.
 * @param {Head} head
 * @param {[number, number]} point
 * @returns {[number, number]}
 */
export const onHead = ({ x, y, radius }, [across, up]) => [x + across * radius, y - up * radius];

/**
 * Outline with nose and ears.
 * @param {CanvasRenderingContext2D} context
 * @param {Head} head
 */
export function drawHead(context, { x, y, radius }) {
  context.strokeStyle = colour("faint");
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.moveTo(x - radius * 0.1, y - radius * 0.995);
  context.lineTo(x, y - radius * 1.12);
  context.lineTo(x + radius * 0.1, y - radius * 0.995);
  context.stroke();
  for (const side of [-1, 1]) {
    context.beginPath();
    context.ellipse(x + side * radius * 1.03, y, radius * 0.045, radius * 0.16, 0, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** Values between electrodes, by Gaussians around them: for the eye, not for measuring. */
export class ScalpMap {
  #canvas = document.createElement("canvas");
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
  #image = this.#context.createImageData(GRID, GRID);
  #weights = new Float32Array(0); // (grid, points)
  #n = 0;

  constructor() {
    this.#canvas.width = this.#canvas.height = GRID;
  }

  /** @param {[number, number][]} points of the electrodes, projected */
  place(points) {
    this.#n = points.length;
    this.#weights = new Float32Array(GRID * GRID * points.length);
    for (let pixel = 0; pixel < GRID * GRID; pixel += 1) {
      const across = EDGE * (((pixel % GRID) + 0.5) / (GRID / 2) - 1), up = EDGE * (1 - (Math.floor(pixel / GRID) + 0.5) / (GRID / 2));
      if (Math.hypot(across, up) > EDGE) continue;
      let sum = 0;
      points.forEach(([x, y], i) => {
        const weight = Math.exp(-((x - across) ** 2 + (y - up) ** 2) / (2 * WIDTH * WIDTH)) + 1e-9;
        this.#weights[pixel * points.length + i] = weight;
        sum += weight;
      });
      for (let i = 0; i < points.length; i += 1) this.#weights[pixel * points.length + i] /= sum;
    }
  }

  /**
   * Draw a map onto a head.
   * @param {CanvasRenderingContext2D} context
   * @param {Head} head
   * @param {ArrayLike<number>} values one per electrode
   * @param {(value: number) => [number, number, number]} shade red, green and blue of a value
   */
  draw(context, { x, y, radius }, values, shade) {
    const { data } = this.#image, n = this.#n;
    for (let pixel = 0; pixel < GRID * GRID; pixel += 1) {
      let value = 0;
      for (let i = 0; i < n; i += 1) value += this.#weights[pixel * n + i] * values[i];
      const [r, g, b] = shade(value);
      data[4 * pixel] = r;
      data[4 * pixel + 1] = g;
      data[4 * pixel + 2] = b;
      data[4 * pixel + 3] = 255;
    }
    this.#context.putImageData(this.#image, 0, 0);
    context.save();
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.clip();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#canvas, x - radius * EDGE, y - radius * EDGE, 2 * radius * EDGE, 2 * radius * EDGE);
    context.restore();
  }
}

/**
 * A colour of the theme as red, green and blue.
 * @param {string} name
 * @returns {[number, number, number]}
 */
export function channels(name) {
  const [r, g, b] = (colour(name).match(/[\d.]+/g) ?? ["0", "0", "0"]).map(Number);
  return [r, g, b];
}

/**
 * Mix two colours.
 * @param {[number, number, number]} a
 * @param {[number, number, number]} b
 * @param {number} share of b
 * @returns {[number, number, number]}
 */
export const mixed = (a, b, share) => [a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share];
