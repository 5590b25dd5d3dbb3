// Learning over runs and days: accuracy with its interval as a line, and a table of what was measured.

import { Plot, colour } from "../canvas.js";
import { element } from "../dom.js";
import { text } from "../texts.js";
import { percent } from "../words.js";

/** @typedef {{date: string, run: string | number, accuracy: number | null, interval: [number, number] | null, chance?: number | null, distinctness: number | null, latency_s: number | null, model: string | null}} Point */

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class Learning {
  /** @type {Point[]} */
  #points = [];
  #plot = new Plot(/** @type {HTMLCanvasElement} */ (part("learning-plot")), (context, width, height) => this.#draw(context, width, height));
  #shown = "";

  /** @param {Point[]} points in the order of time */
  show(points) {
    const now = JSON.stringify(points);
    if (now === this.#shown) return;
    this.#shown = now;
    this.#points = points.filter(({ accuracy }) => accuracy !== null);
    part("learning").hidden = points.length === 0;
    /** @type {HTMLTableElement} */ (document.getElementById("learning-table")).tBodies[0].replaceChildren(...points.map((point) => element("tr", {}, ...cellsOf(point).map((cell) => element("td", { text: cell })))));
    this.#plot.touch();
  }

  /** @param {CanvasRenderingContext2D} context @param {number} width @param {number} height */
  #draw(context, width, height) {
    const [left, right, top, bottom] = [46, width - 14, 12, height - 30];
    const y = (/** @type {number} */ share) => bottom - share * (bottom - top);
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      context.strokeStyle = colour("line");
      line(context, [[left, y(share)], [right, y(share)]]);
      context.fillStyle = colour("soft");
      context.fillText(percent(share), left - 8, y(share));
    }
    const points = this.#points;
    const x = (/** @type {number} */ at) => (points.length < 2 ? (left + right) / 2 : left + 24 + (at / (points.length - 1)) * (right - left - 48));
    context.textAlign = "center";
    points.forEach(({ date, run, interval }, at) => {
      context.strokeStyle = colour("accent");
      context.lineWidth = 2;
      if (interval) line(context, [[x(at), y(interval[0])], [x(at), y(interval[1])]]);
      context.fillStyle = colour("soft");
      const newDay = at === 0 || points[at - 1].date !== date;
      context.fillText(newDay ? date.slice(5) : String(run).replace(/^.*run-(\d+).*$/, "$1"), x(at), bottom + 16);
    });
    context.lineWidth = 2.5;
    line(context, points.map(({ accuracy }, at) => [x(at), y(accuracy ?? 0)]));
    points.forEach(({ accuracy }, at) => {
      context.fillStyle = colour("accent");
      context.beginPath();
      context.arc(x(at), y(accuracy ?? 0), 5, 0, 2 * Math.PI);
      context.fill();
    });
  }
}

/** @param {CanvasRenderingContext2D} context @param {number[][]} points */
function line(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

/** @param {Point} point */
const cellsOf = ({ date, run, accuracy, interval, distinctness, latency_s: latency, model }) => [
  date,
  String(run),
  accuracy === null ? "–" : interval ? text("session.learning.of", { value: percent(accuracy), low: percent(interval[0]), high: percent(interval[1]) }) : percent(accuracy),
  distinctness === null || distinctness === undefined ? "–" : distinctness.toFixed(2),
  latency === null || latency === undefined ? "–" : `${latency.toFixed(2)} s`,
  model ?? "–",
];
