// Figures of a training's report as SVG: lines with their intervals, and the head seen from above. Colours are the theme's.

import { fixed } from "./words.js";

/** @typedef {[number, number]} Point */
/** @typedef {{seconds?: boolean, percent?: boolean}} Form */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360, HEIGHT = 210;
const BOX = { left: 44, right: WIDTH - 12, top: 12, bottom: HEIGHT - 40 };

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} children
 */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * A picture with its content in words.
 * @param {string} label
 * @param {string} viewBox
 * @param {Node[]} children
 */
const picture = (label, viewBox, children) => svg("svg", { role: "img", "aria-label": label, viewBox }, ...children);

/** @param {Point[]} points */
const joined = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

/**
 * @typedef {object} Lines
 * @property {string} label what the picture shows, in words
 * @property {string} across name of the horizontal axis
 * @property {[number, number]} range of the horizontal axis
 * @property {number[]} ticks
 * @property {Point[]} line accuracy or share, 0 to 1
 * @property {[number, number, number][]} [band] of the line: x, low and high
 * @property {{x: number, y: number, low?: number, high?: number, text: string}[]} [marks]
 * @property {{y: number, text: string}} [level] horizontal
 * @property {{x: number, text: string}} [rule] vertical
 */

/**
 * A share over time, trials or a rate, with its interval.
 * @param {Lines} what
 */
export function linesPicture({ label, across, range: [from, to], ticks, line, band = [], marks = [], level, rule }) {
  const x = (/** @type {number} */ value) => BOX.left + ((value - from) / (to - from || 1)) * (BOX.right - BOX.left);
  const y = (/** @type {number} */ value) => BOX.bottom - value * (BOX.bottom - BOX.top);
  const parts = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(svg("line", { class: "grid", x1: BOX.left, x2: BOX.right, y1: y(share), y2: y(share) }));
    if (share % 0.5 === 0) parts.push(svg("text", { x: BOX.left - 6, y: y(share) + 4, "text-anchor": "end" }, `${share * 100} %`));
  }
  for (const tick of ticks) parts.push(svg("text", { x: x(tick), y: BOX.bottom + 16, "text-anchor": "middle" }, String(tick)));
  parts.push(svg("text", { x: (BOX.left + BOX.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, across));
  if (band.length > 1) {
    const upper = band.map(([at, , high]) => /** @type {Point} */ ([x(at), y(high)])), lower = band.map(([at, low]) => /** @type {Point} */ ([x(at), y(low)]));
    parts.push(svg("polygon", { class: "band", points: joined([...upper, ...lower.reverse()]) }));
  }
  if (level) {
    parts.push(svg("line", { class: "level", x1: BOX.left, x2: BOX.right, y1: y(level.y), y2: y(level.y) }));
    parts.push(svg("text", { class: "note", x: BOX.right, y: y(level.y) - 5, "text-anchor": "end" }, level.text));
  }
  if (rule) {
    parts.push(svg("line", { class: "level", x1: x(rule.x), x2: x(rule.x), y1: BOX.top, y2: BOX.bottom }));
    parts.push(svg("text", { class: "note", x: x(rule.x) - 5, y: BOX.bottom - 6, "text-anchor": "end" }, rule.text));
  }
  parts.push(svg("polyline", { class: "line", points: joined(line.map(([at, value]) => [x(at), y(value)])) }));
  if (line.length < 12) for (const [at, value] of line) parts.push(svg("circle", { class: "point", cx: x(at), cy: y(value), r: 3.5 }));
  for (const mark of marks) {
    if (mark.low !== undefined && mark.high !== undefined) parts.push(svg("line", { class: "whisker", x1: x(mark.x), x2: x(mark.x), y1: y(mark.low), y2: y(mark.high) }));
    parts.push(svg("circle", { class: "mark", cx: x(mark.x), cy: y(mark.y), r: 5 }));
    const right = x(mark.x) > (BOX.left + BOX.right) / 2;
    parts.push(svg("text", { class: "strong", x: x(mark.x) + (right ? -9 : 9), y: y(mark.y) + (mark.y > 0.9 ? 16 : -7), "text-anchor": right ? "end" : "start" }, mark.text));
  }
  return picture(label, `0 0 ${WIDTH} ${HEIGHT}`, parts);
}

/**
 * Ticks of a range: about five, at round numbers.
 * @param {number} from
 * @param {number} to
 */
export function ticksOf(from, to) {
  const raw = (to - from) / 5, power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw) ?? power * 10;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to + 1e-9; at += step) ticks.push(Number(at.toFixed(6)));
  return ticks;
}

/**
 * Values of electrodes on the head from above, nose up: filled where they are above zero, rings below.
 * @param {string} label
 * @param {[number, number][]} places 1 is at the level of the ears; y upwards to the nose
 * @param {string[]} names
 * @param {number[]} values
 * @param {number} largest value of all heads, which has the full size
 */
export function headPicture(label, places, names, values, largest) {
  const reach = Math.max(1, ...places.map(([x, y]) => Math.hypot(x, y))), scale = 80 / reach, dense = places.length > 40 ? 0.6 : 1;
  const parts = [
    svg("circle", { class: "head", cx: 0, cy: 0, r: 80 }),
    svg("path", { class: "head", d: "M-9,-79.5 L0,-92 L9,-79.5" }),
    svg("path", { class: "head", d: "M-80,-13 C-90,-13 -90,13 -80,13" }),
    svg("path", { class: "head", d: "M80,-13 C90,-13 90,13 80,13" }),
  ];
  const strongest = [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, 3);
  places.forEach(([x, y], i) => {
    const share = Math.min(1, Math.abs(values[i]) / (largest || 1));
    const dot = svg("circle", { class: values[i] < 0 ? "falls" : "rises", cx: x * scale, cy: -y * scale, r: (2 + 9 * Math.sqrt(share)) * dense, opacity: 0.3 + 0.7 * share });
    dot.append(svg("title", {}, `${names[i]} ${fixed(values[i], 2)} dB`));
    parts.push(dot);
  });
  for (const i of strongest) parts.push(svg("text", { x: places[i][0] * scale, y: -places[i][1] * scale + 3.5, "text-anchor": "middle", class: "electrode" }, names[i]));
  return picture(label, "-100 -100 200 200", parts);
}
