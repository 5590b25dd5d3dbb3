// The log of what happened, newest first.

import { clockTime, words } from "./words.js";

const KEPT = 200;
const ALARMS = new Set(["error", "refused", "dropped", "gap", "clock_reset", "skipped"]);
const ALARMING_STATES = new Set(["lost", "stale", "failed"]);

export class Events {
  #list = document.getElementById("events");
  #seen = new Set();

  constructor() {
    this.clear();
  }

  clear() {
    this.#seen.clear();
    const empty = document.createElement("li");
    empty.className = "empty";
    empty.textContent = "Nothing has happened yet.";
    this.#list.replaceChildren(empty);
  }

  add(event) {
    // after a reconnect the service tells again what the page may already know
    const key = `${event.kind} ${event.unix_time} ${event.message}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#list.querySelector(".empty")?.remove();
    const item = document.createElement("li");
    const alarm = ALARMS.has(event.kind) || (event.kind === "state" && ALARMING_STATES.has(event.data?.state));
    item.classList.toggle("alarm", alarm);
    const time = document.createElement("time");
    time.dateTime = new Date(event.unix_time * 1000).toISOString();
    time.textContent = clockTime(event.unix_time);
    const kind = document.createElement("span");
    kind.className = "kind";
    kind.textContent = event.kind === "state" && event.data?.state ? event.data.state : words(event.kind);
    const text = document.createElement("span");
    text.textContent = event.message;
    item.append(time, kind, text);
    this.#list.prepend(item);
    while (this.#list.children.length > KEPT) this.#list.lastElementChild.remove();
    if (this.#seen.size > 4 * KEPT) this.#seen = new Set([...this.#seen].slice(-KEPT));
  }
}
