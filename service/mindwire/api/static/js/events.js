// @ts-nocheck
// The log of what happened: sorted by time, newest first, one row per change.

import { clockTime, words } from "./words.js";

const KEPT = 200;
const SHOWN = 8;
const SAME_MOMENT_S = 0.1;
const ALARMS = new Set(["error", "refused", "dropped", "gap", "clock_reset", "skipped", "overload"]);
const ALARMING_STATES = new Set(["lost", "stale", "failed"]);

const same = (a, b) => a.kind === b.kind && a.message === b.message;

export class Events {
  #list = document.getElementById("events");
  #more = document.getElementById("events-more");
  #events = []; // newest first
  #all = false;

  constructor() {
    this.#more.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#show();
    });
    this.clear();
  }

  clear() {
    this.#events = [];
    this.#show();
  }

  add(...events) {
    for (const event of events) this.#insert(event);
    if (events.length) this.#show();
  }

  /** History and live events arrive in any order, and after a reconnect some of them arrive twice. */
  #insert(event) {
    let at = 0;
    while (at < this.#events.length && this.#events[at].unix_time > event.unix_time) at += 1;
    for (let i = at; i < this.#events.length && this.#events[i].unix_time === event.unix_time; i += 1)
      if (same(this.#events[i], event)) return;
    this.#events.splice(at, 0, event);
    if (this.#events.length > KEPT) this.#events.pop();
  }

  /** What is repeated becomes one row; a change of validity that comes with a change of state needs none. */
  #rows() {
    const rows = [];
    this.#events.forEach((event, i) => {
      const beside = [this.#events[i - 1], this.#events[i + 1]];
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
    this.#list.replaceChildren(...(shown.length ? shown.map(item) : [empty()]));
    this.#more.hidden = rows.length <= SHOWN;
    this.#more.textContent = this.#all ? "Show fewer" : `Show all ${rows.length}`;
    this.#more.setAttribute("aria-expanded", String(this.#all));
  }
}

function empty() {
  const made = document.createElement("li");
  made.className = "empty";
  made.textContent = "Nothing has happened yet.";
  return made;
}

function item({ event, times }) {
  const made = document.createElement("li");
  const alarm = ALARMS.has(event.kind) || (event.kind === "state" && ALARMING_STATES.has(event.data?.state));
  made.classList.toggle("alarm", alarm);
  const time = document.createElement("time");
  time.dateTime = new Date(event.unix_time * 1000).toISOString();
  time.textContent = clockTime(event.unix_time);
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = event.kind === "state" && event.data?.state ? event.data.state : words(event.kind);
  const text = document.createElement("span");
  text.textContent = times > 1 ? `${event.message} (${times} times)` : event.message;
  made.append(time, kind, text);
  return made;
}
