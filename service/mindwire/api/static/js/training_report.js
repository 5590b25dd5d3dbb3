// The report of a training or an improvement: how good the model is, what to do about it, and the figures.

import { element } from "./dom.js";
import { gateText } from "./progress_report.js";
import { headPicture, linesPicture, ticksOf } from "./report_figures.js";
import { hasText, plural, text } from "./texts.js";
import { fixed, percent, words } from "./words.js";

/** @typedef {[number, number]} Interval */
/** @typedef {{code: string, values: Record<string, any>}} Reason */
/** @typedef {{id: string, kind: string, report: any}} Job */

const STYLE = "/static/training_report.css";
const SIGNS = /** @type {const} */ ({ good: "✓", usable: "!", poor: "×" });

/** @param {Interval} interval */
const between = ([low, high]) => text("training.interval", { low: percent(low), high: percent(high) });

export class TrainingReport {
  #parent;
  /** @type {Job | null} */
  #job = null;

  /** @param {HTMLElement} parent filled with the report; empty until there is one */
  constructor(parent) {
    this.#parent = parent;
    parent.classList.add("training-report");
    if (!document.querySelector(`link[href="${STYLE}"]`)) document.head.append(element("link", { rel: "stylesheet", href: STYLE }));
  }

  /** @param {Job | null} job with its report; does nothing while it is the same */
  show(job) {
    if (job?.id === this.#job?.id && job?.report === this.#job?.report) return;
    this.#job = job;
    if (!job?.report) this.#parent.replaceChildren();
    else if (job.kind === "improve") this.#parent.replaceChildren(...improvement(job.report));
    else this.#parent.replaceChildren(...training(job.report));
  }
}

/**
 * A table that scrolls where it is too wide, by the keyboard too.
 * @param {string} name
 * @param {HTMLElement[]} head cells
 * @param {HTMLElement[]} rows
 */
const table = (name, head, rows) =>
  element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": name }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));

/** @param {any} report */
function training(report) {
  const { level, reasons } = report.verdict;
  const [result, ...others] = /** @type {Reason[]} */ (reasons);
  const advice = report.advice;
  const said = [...others.map(sentence), adviceText(advice)];
  return [
    headline(level, text(`training.level.${level}`), sentence(result), report.accuracy, report.interval),
    element("ul", { class: "said" }, ...said.map((one) => element("li", { text: one }))),
    element("div", { class: "figures" }, ...figures(report)),
    details(report),
  ];
}

/**
 * @param {"good" | "usable" | "poor"} level
 * @param {string} title
 * @param {string} more
 * @param {number | null} accuracy
 * @param {Interval} interval
 */
function headline(level, title, more, accuracy, interval) {
  const share = accuracy === null ? [] : [element("p", { class: "share" }, element("strong", { text: percent(accuracy) }), element("span", { text: between(interval) }))];
  const said = element("div", {}, element("p", { class: "level-title", text: title }), element("p", { text: more }));
  return element("div", { class: "verdict", "data-level": level }, element("span", { class: "sign", "aria-hidden": "true", text: SIGNS[level] }), said, ...share);
}

/** @param {Reason} reason */
function sentence({ code, values }) {
  const key = `training.reason.${code}`;
  if (!hasText(key)) return words(code);
  /** @type {Record<string, string | number>} */
  const shown = {};
  for (const [name, value] of Object.entries(values)) {
    const share = ["accuracy", "chance", "guessing", "share"].includes(name) && typeof value === "number";
    shown[name] = share ? percent(value) : Array.isArray(value) ? value.join(", ") : typeof value === "number" ? value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 2 }) : words(String(value ?? "–"));
  }
  return text(key, shown);
}

/** @param {any} advice */
function adviceText({ code, trials_per_class: now, ten_more: later, ten_more_interval: interval, more, expected }) {
  const forecast = expected === null ? "" : text("training.advice.forecast", { more, now: percent(expected), later: percent(later), interval: between(interval) });
  return `${text(`training.advice.${code}`, { n: now })} ${forecast}`.trim();
}

/** @param {any} report */
function figures(report) {
  const made = [overTime(report), confusion(report)];
  if (report.learning_curve.length) made.push(learning(report));
  if (report.frontier) made.push(frontier(report));
  if (report.patterns.length && report.patterns[0].positions) made.push(patterns(report));
  return made;
}

/**
 * @param {string} title
 * @param {string} note
 * @param {(Node | string)[]} content
 * @param {string} [name] of a class
 */
const figure = (title, note, content, name) => element("figure", name ? { class: name } : {}, element("figcaption", {}, element("strong", { text: title }), element("span", { text: note })), ...content);

/** @param {any} report */
function overTime({ over_time: { seconds, accuracy, interval, decided_at: decided }, chance }) {
  const line = /** @type {[number, number][]} */ (seconds.map((/** @type {number} */ at, /** @type {number} */ i) => [at, accuracy[i]]).filter((/** @type {any[]} */ [, value]) => value !== null));
  const band = seconds.map((/** @type {number} */ at, /** @type {number} */ i) => [at, ...interval[i]]).filter((/** @type {number[]} */ _, /** @type {number} */ i) => accuracy[i] !== null);
  const best = line.reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0]);
  const label = text("training.over_time.label", { best: percent(best[1]), s: fixed(best[0], 1) });
  const last = seconds.at(-1) ?? 1;
  const rule = { x: decided, text: text("training.over_time.decided") };
  return figure(text("training.over_time"), text("training.over_time.note"), [
    linesPicture({ label, across: text("training.over_time.axis"), range: [0, last], ticks: ticksOf(0, last), line, band, level: { y: chance, text: text("training.chance") }, rule }),
  ]);
}

/** @param {any} report */
function confusion({ classes, confusion: counts }) {
  const corner = /** @type {HTMLElement} */ (element("td", { class: "corner", text: text("training.confusion.corner") }));
  const head = [corner, ...classes.map((/** @type {string} */ name) => element("th", { scope: "col", text: words(name) }))];
  const rows = counts.map((/** @type {number[]} */ row, /** @type {number} */ i) => {
    const total = row.reduce((a, b) => a + b, 0) || 1;
    const cells = row.map((count, j) => element("td", { class: i === j ? "right" : count ? "wrong" : "none", text: `${count} (${percent(count / total)})` }));
    return element("tr", {}, element("th", { scope: "row", text: words(classes[i]) }), ...cells);
  });
  return figure(text("training.confusion"), text("training.confusion.note"), [table(text("training.confusion"), head, rows)]);
}

/** @param {any} report */
function learning({ learning_curve: curve, advice, chance }) {
  const line = curve.map((/** @type {any} */ point) => [point.trials_per_class, point.accuracy]);
  const band = curve.map((/** @type {any} */ point) => [point.trials_per_class, ...point.interval]);
  const now = advice.trials_per_class, later = now + advice.more;
  const marks = advice.expected === null ? [] : [
    { x: now, y: advice.expected, low: advice.interval[0], high: advice.interval[1], text: text("training.learning.now") },
    { x: later, y: advice.ten_more, low: advice.ten_more_interval[0], high: advice.ten_more_interval[1], text: text("training.learning.more", { more: advice.more }) },
  ];
  const label = text("training.learning.label", { n: now, now: percent(advice.expected ?? 0), later: percent(advice.ten_more) });
  return figure(text("training.learning"), text("training.learning.note"), [
    linesPicture({ label, across: text("training.learning.axis"), range: [0, later + 2], ticks: ticksOf(0, later + 2), line, band, marks, level: { y: chance, text: text("training.chance") } }),
  ]);
}

/** @param {any} report */
function frontier({ frontier: points, policy }) {
  const shares = points.map((/** @type {any} */ point) => [point.false_per_minute, point.right / policy.trials]);
  const chosen = points.find((/** @type {any} */ point) => point.chosen) ?? points[0];
  const last = Math.max(1.2 * policy.budget_per_minute, ...shares.map((/** @type {number[]} */ [rate]) => rate));
  const marks = [{ x: chosen.false_per_minute, y: chosen.right / policy.trials, text: text("training.frontier.chosen") }];
  const label = text("training.frontier.label", { right: chosen.right, trials: policy.trials, rate: fixed(chosen.false_per_minute, 2) });
  const note = text("training.frontier.note", { minutes: fixed(policy.rest_minutes, 1), proven: fixed(policy.proven_per_minute, 2) });
  const rule = { x: policy.budget_per_minute, text: text("training.frontier.budget") };
  return figure(text("training.frontier"), note, [linesPicture({ label, across: text("training.frontier.axis"), range: [0, last], ticks: ticksOf(0, last), line: shares, marks, rule })]);
}

/** @param {any} report */
function patterns({ patterns: given }) {
  const largest = Math.max(...given.flatMap((/** @type {any} */ one) => one.values.map(Math.abs)));
  const heads = given.map((/** @type {any} */ one) => {
    const { labels, values, positions } = one;
    const order = [.../** @type {number[]} */ (values).keys()].sort((a, b) => values[a] - values[b]);
    const label = text("training.patterns.label", { name: words(one.class), falls: labels[order[0]], rises: labels[order.at(-1) ?? 0] });
    return element("div", { class: "head-of" }, headPicture(label, positions, labels, values, largest), element("p", { text: words(one.class) }));
  });
  return figure(text("training.patterns"), text("training.patterns.note"), [element("div", { class: "heads" }, ...heads)], "wide");
}

/** @param {any} report */
function details({ recordings, left_out: missing, decoder, network_accuracy: network, baseline_accuracy: baseline, trials }) {
  const shown = (/** @type {number | null} */ value) => (value === null ? "–" : percent(value));
  const rows = recordings.map((/** @type {any} */ one) => element("tr", {}, element("th", { scope: "row", text: one.recording }), element("td", { text: String(one.trials) }), element("td", { text: shown(one.accuracy) })));
  const head = ["recording", "trials", "accuracy"].map((name) => element("th", { scope: "col", text: text(`training.column.${name}`) }));
  const left = missing.filter((/** @type {any} */ one) => one.trials || one.recording).map((/** @type {any} */ one) => {
    const key = `training.left_out.${one.reason}`;
    const why = hasText(key) ? text(key) : words(one.reason);
    return element("li", { text: `${one.recording ? `${one.recording}: ` : ""}${plural("training.trials", one.trials)}, ${why}` });
  });
  const chosen = text(`training.decoder.${decoder}`, { network: shown(network), baseline: shown(baseline) });
  return element(
    "details", {},
    element("summary", { text: text("training.details") }),
    element("p", { text: `${plural("training.used", trials)} ${chosen}` }),
    table(text("training.column.recording"), head, rows),
    ...(left.length ? [element("p", { text: text("training.left_out") }), element("ul", {}, ...left)] : []),
  );
}

/** @param {any} report */
function improvement({ gate, per_run: runs }) {
  const level = gate.accepted ? (gate.codes.includes("better") ? "good" : "usable") : "poor";
  const head = ["recording", "improved", "in_use"].map((name) => element("th", { scope: "col", text: text(`training.column.${name}`) }));
  const rows = runs.map((/** @type {any} */ one) => {
    const cells = [one.candidate_right, one.base_right].map((right) => element("td", { text: `${right} / ${one.trials}` }));
    return element("tr", {}, element("th", { scope: "row", text: one.recording }), ...cells);
  });
  return [
    headline(level, text(`training.gate.${gate.accepted ? "accepted" : "rejected"}`), gateText(gate), null, [0, 1]),
    table(text("training.column.recording"), head, rows),
  ];
}
