// The log of what happened, in words: sorted by time, newest first, one row per change; markers where they are asked for.

import { byId, element } from "./dom.js";
import { plural, text } from "./texts.js";
import { className, clockTime, coded, markerText, percent } from "./words.js";

/** @typedef {Pick<import("./types.d.ts").StreamEvent, "kind" | "message" | "unix_time" | "data">} Happening */

const KEPT = 200;
const SHOWN = 8;
const SAME_MOMENT_S = 0.1;
const ALARMS = new Set(["error", "refused", "dropped", "gap", "clock_reset", "skipped", "overload"]);
const ALARMING_STATES = new Set(["lost", "stale", "failed"]);
const MARKS = new Set(["cue", "marker", "decision"]);

/**
 * @param {Happening} a
 * @param {Happening} b
 */
const same = (a, b) => a.kind === b.kind && a.message === b.message && a.data?.label === b.data?.label;

export class Events {
  #list = byId("events");
  #more = byId("events-more");
  #marks = byId("events-marks", HTMLInputElement);
  /** @type {Happening[]} */
  #events = []; // newest first
  #all = false;

  constructor() {
    this.#more.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#show();
    });
    this.#marks.addEventListener("change", () => this.#show());
    this.clear();
  }

  clear() {
    this.#events = [];
    this.#show();
  }

  /** @param {Happening[]} events */
  add(...events) {
    for (const event of events) this.#insert(event);
    if (events.some(({ kind }) => this.#marks.checked || !MARKS.has(kind))) this.#show();
  }

  /** @param {import("./types.d.ts").Decision} decision */
  decision({ class: name, confidence }) {
    const message = text("live.decided", { name: className(name), confidence: percent(confidence) });
    this.add({ kind: "decision", message, unix_time: Date.now() / 1000, data: {} });
  }

  /**
   * History and live events arrive in any order, and after a reconnect some of them arrive twice.
   * @param {Happening} event
   */
  #insert(event) {
    let at = 0;
    while (at < this.#events.length && this.#events[at].unix_time > event.unix_time) at += 1;
    for (let i = at; i < this.#events.length && this.#events[i].unix_time === event.unix_time; i += 1)
      if (same(this.#events[i], event)) return;
    this.#events.splice(at, 0, event);
    if (this.#events.length > KEPT) this.#drop();
  }

  /** Forget the oldest mark, or the oldest event where there are few marks: a run of trials must not push the events out. */
  #drop() {
    const marks = this.#events.filter(({ kind }) => MARKS.has(kind));
    this.#events.splice(marks.length > KEPT / 2 ? this.#events.lastIndexOf(/** @type {Happening} */ (marks.at(-1))) : -1, 1);
  }

  /** What is repeated becomes one row; a change of validity that comes with a change of state needs none. */
  #rows() {
    /** @type {{event: Happening, times: number}[]} */
    const rows = [];
    const events = this.#marks.checked ? this.#events : this.#events.filter(({ kind }) => !MARKS.has(kind));
    events.forEach((event, i) => {
      const beside = [events[i - 1], events[i + 1]];
      if (event.kind === "validity" && beside.some((other) => other?.kind === "state" && Math.abs(other.unix_time - event.unix_time) < SAME_MOMENT_S)) return;
      const last = rows.at(-1);
      if (last && same(last.event, event)) last.times += 1;
      else rows.push({ event, times: 1 });
    });
    return rows;
  }

  #show() {
    const rows = this.#rows();
    const shown = this.#all ? rows : rows.slice(0, SHOWN);
    this.#list.replaceChildren(...(shown.length ? shown.map(item) : [element("li", { class: "empty", text: text("live.nothing_yet") })]));
    this.#more.hidden = rows.length <= SHOWN;
    this.#more.textContent = this.#all ? text("live.show_fewer") : text("live.show_all", { n: rows.length });
    this.#more.setAttribute("aria-expanded", String(this.#all));
  }
}

/** @param {{event: Happening, times: number}} row */
function item({ event, times }) {
  const { kind, data } = event;
  const alarm = ALARMS.has(kind) || (kind === "state" && ALARMING_STATES.has(data?.state));
  const time = element("time", { text: clockTime(event.unix_time), datetime: new Date(event.unix_time * 1000).toISOString() });
  const name = kind === "state" && data?.state ? coded("state", data.state) : coded("event", kind);
  const message = kind === "cue" || kind === "marker" ? markerText(String(data?.label ?? event.message)) : event.message;
  const words = times > 1 ? `${message} (${plural("live.times", times)})` : message;
  return element("li", { class: alarm ? "alarm" : "" }, time, element("span", { class: "kind", text: name }), element("span", { text: words }));
}
