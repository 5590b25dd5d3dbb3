// Learning over runs and days: a picture of the accuracy with its intervals, and a table with all figures.

import { element } from "./dom.js";
import { hasText, language, text as pageText } from "./texts.js";

/**
 * @typedef {{basis: "online" | "cross_validated" | null, trials: number, right: number, undecided: number, accuracy: number | null,
 *   interval: [number, number], chance: number | null, distinctness: number | null, latency_s: number | null}} Figures
 * @typedef {Figures & {run: number, file: string, models: string[], problem: string | null}} RunFigures
 * @typedef {{participant: string, days: {date: string, runs: RunFigures[], day: Figures}[], problems: string[]}} Progress
 */

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 180, STEP = 44, LEFT = 40, TOP = 10, BOTTOM = 26;
const MISSING = "–";

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {string} [content]
 */
function shape(tag, attributes, content = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.textContent = content;
  return made;
}

/** @param {number | null} share */
const percent = (share) => (share === null ? MISSING : share.toLocaleString(language(), { style: "percent", maximumFractionDigits: 0 }));

/**
 * @param {number | null} value
 * @param {number} digits
 */
const decimal = (value, digits) =>
  value === null ? MISSING : value.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** @param {string} date */
const day = (date) => new Date(`${date}T12:00`).toLocaleDateString(language(), { day: "numeric", month: "short" });

/**
 * What the gate found of an improved model, in sentences: the part ``gate`` of a job's report.
 * @param {{accepted: boolean, codes: string[], trials: number, candidate_right: number, base_right: number}} gate
 */
export function gateText({ accepted, codes, trials, candidate_right, base_right }) {
  const known = codes.map((code) => `improve.${code}`).filter(hasText);
  return [pageText(`improve.${accepted ? "accepted" : "rejected"}`, { trials, candidate_right, base_right }), ...known.map((key) => pageText(key))].join(" ");
}

/** The report of a participant's progress, as ``GET /v1/participants/{participant}/progress`` gives it. */
export class ProgressReport {
  #box = element("section", { class: "progress-report" });
  #text;
  #shown = "";

  /**
   * @param {HTMLElement} parent
   * @param {typeof pageText} [texts]
   */
  constructor(parent, texts = pageText) {
    this.#text = texts;
    parent.append(this.#box);
  }

  /** @param {Progress} progress */
  show(progress) {
    const now = JSON.stringify([language(), progress]);
    if (now === this.#shown) return; // so that what is scrolled or focused stays
    this.#shown = now;
    const runs = progress.days.flatMap(({ date, runs: some }) => some.map((run) => ({ ...run, date })));
    if (!runs.length) {
      this.#box.replaceChildren(element("p", { class: "small", text: this.#text("progress.none") }));
      return;
    }
    this.#box.replaceChildren(
      ...this.#summary(progress),
      this.#picture(runs),
      this.#table(progress),
      element("p", { class: "small", text: this.#text("progress.note") }),
      ...progress.problems.map((problem) => element("p", { class: "small", text: problem })),
    );
  }

  /**
   * The last day with a figure, in a sentence, beside the first one of the same kind.
   * @param {Progress} progress
   */
  #summary({ days }) {
    const known = days.filter((one) => one.day.accuracy !== null);
    const last = known.at(-1);
    if (!last) return [];
    const sentences = [this.#text("progress.last", { ...this.#values(last.day), day: day(last.date) })];
    const first = known.find((one) => one.day.basis === last.day.basis);
    if (first && first !== last) sentences.push(this.#text("progress.first", { ...this.#values(first.day), day: day(first.date) }));
    return [element("p", { text: sentences.join(" ") })];
  }

  /** @param {Figures} figures */
  #values({ right, trials, accuracy, interval }) {
    return { right, trials, accuracy: percent(accuracy), low: percent(interval[0]), high: percent(interval[1]) };
  }

  /** @param {(RunFigures & {date: string})[]} runs */
  #picture(runs) {
    const width = LEFT + STEP * runs.length + 10;
    const y = (/** @type {number} */ share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
    for (const share of [0, 0.5, 1]) {
      svg.append(shape("line", { x1: LEFT, x2: width, y1: y(share), y2: y(share), class: "grid" }));
      svg.append(shape("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share)));
    }
    let date = "";
    runs.forEach((run, index) => {
      const x = LEFT + STEP * (index + 0.5);
      svg.append(shape("text", { x, y: HEIGHT - 12, "text-anchor": "middle" }, String(run.run)));
      if (run.date !== date) {
        date = run.date;
        svg.append(shape("line", { x1: x - STEP / 2, x2: x - STEP / 2, y1: TOP, y2: HEIGHT, class: "day" }));
        svg.append(shape("text", { x: x - STEP / 2 + 3, y: HEIGHT - 1 }, day(date)));
      }
      if (run.chance !== null) {
        svg.append(shape("line", { x1: x - STEP / 2, x2: x + STEP / 2, y1: y(run.chance), y2: y(run.chance), class: "chance" }));
      }
      if (run.accuracy === null) return;
      svg.append(shape("line", { x1: x, x2: x, y1: y(run.interval[0]), y2: y(run.interval[1]), class: "interval" }));
      svg.append(shape("circle", { cx: x, cy: y(run.accuracy), r: 5, class: run.basis ?? "" }));
    });
    return element("div", { class: "progress-picture", tabindex: 0, role: "img", "aria-label": this.#text("progress.picture") }, svg);
  }

  /** @param {Progress} progress */
  #table({ days }) {
    const heads = ["day", "run", "right", "accuracy", "basis", "distinctness", "latency", "model"].map((name) =>
      element("th", { scope: "col", text: this.#text(`progress.${name}`) }));
    const rows = days.flatMap(({ date, runs, day: total }) => [
      ...runs.map((run) => this.#row(day(date), String(run.run), run, run.problem ?? (run.models.join(", ") || MISSING))),
      ...(runs.length > 1 ? [this.#row(day(date), this.#text("progress.all"), total, "")] : []),
    ]);
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
    return element("div", { class: "progress-table", tabindex: 0, role: "group", "aria-label": this.#text("progress.title") }, table);
  }

  /**
   * @param {string} date
   * @param {string} run
   * @param {Figures} figures
   * @param {string} model
   */
  #row(date, run, figures, model) {
    const { basis, accuracy, distinctness, latency_s: latency } = figures;
    const values = this.#values(figures);
    return element(
      "tr",
      {},
      element("th", { scope: "row", text: date }),
      ...[
        run,
        accuracy === null ? MISSING : this.#text("progress.count", values),
        accuracy === null ? MISSING : this.#text("progress.share", values),
        basis === null ? MISSING : this.#text(`progress.${basis}`),
        decimal(distinctness, 2),
        latency === null ? MISSING : this.#text("progress.seconds", { seconds: decimal(latency, 1) }),
        model,
      ].map((text) => element("td", { text })),
    );
  }
}
