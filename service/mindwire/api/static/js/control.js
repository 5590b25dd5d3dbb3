// Control: the last decision, the evidence against its thresholds, the state, and the commands to the policy.

import { Axes } from "./axes.js";
import { byId, element, write } from "./dom.js";
import { Frontier } from "./frontier.js";
import { Refused, Unauthorised, send } from "./service.js";
import { hasText, text } from "./texts.js";
import { ago, className, coded, percent, shape } from "./words.js";

/** @typedef {import("./types.d.ts").Prediction} Prediction */
/** @typedef {import("./types.d.ts").Policy} Policy */

const FRESH_S = 1.5;
const STATE_HELD_MS = 300;
const AGE_EVERY_MS = 100;

/** @typedef {{row: HTMLElement, track: HTMLElement, fill: HTMLElement, value: HTMLElement, commit: number | null}} Row */

export class Control {
  #path = "";
  #askForToken;
  /** @type {string[]} */
  #classes = [];
  /** @type {Policy | null} */
  #policy = null;
  #paused = false;
  #changes = 0; // that the stream has reported
  /** @type {Row[]} */
  #rows = [];
  /** @type {Prediction | null} */
  #newest = null;
  /** @type {Prediction | null} */
  #shown = null;
  /** @type {string | null} */
  #state = null;
  #stateAt = 0;
  /** @type {{name: string, confidence: number, madeAt: number} | null} */
  #last = null; // the last decision, and when it was made on this page's clock
  #ageAt = 0;
  #axes = new Axes();
  #frontier = new Frontier((policy) => this.#command("PUT", "", policy));

  /** @param {() => void} askForToken */
  constructor(askForToken) {
    this.#askForToken = askForToken;
    byId("control-pause").addEventListener("click", () => this.#toggle());
    document.addEventListener("keydown", (event) => {
      const { key, ctrlKey, metaKey, altKey, repeat, target } = event;
      if (key?.toLowerCase() !== "p" || ctrlKey || metaKey || altKey || repeat || this.#policy === null) return;
      if (!(target instanceof Element && target.closest("input:not([type=range]), select, textarea, dialog"))) this.#toggle();
    });
  }

  get active() {
    return this.#policy !== null;
  }

  /** @param {import("./types.d.ts").Hello} hello */
  hello({ stream, classes, control }) {
    this.#path = `/v1/streams/${encodeURIComponent(stream)}/control`;
    this.#classes = classes;
    this.#rows = [];
    this.#newest = this.#shown = this.#state = null;
    this.#problem("");
    this.#use(/** @type {import("./types.d.ts").Control} */ (control ?? { policy: null, paused: false }));
  }

  clear() {
    this.#last = null;
    this.#showDecision(0);
    this.#use({ policy: null, paused: false });
    byId("no-control").hidden = true;
  }

  /** @param {Prediction} prediction */
  add(prediction) {
    if (prediction.control) this.#newest = prediction;
  }

  /** @param {import("./types.d.ts").Decision} decision */
  decision({ class: name, confidence, age_ms, received }) {
    this.#last = { name, confidence, madeAt: received - (age_ms ?? 0) };
    this.#show("active", received, this.#classes.indexOf(name));
    this.#showDecision(received);
  }

  /**
   * The last decision that was made before this page was there.
   * @param {import("./types.d.ts").LastDecision | null | undefined} last
   * @param {number} now
   */
  recall(last, now) {
    if (!last || this.#last !== null || !this.active) return;
    this.#last = { name: last.class, confidence: last.confidence, madeAt: now - last.age_s * 1000 };
    this.#showDecision(now);
  }

  /** @param {import("./types.d.ts").AxisValues} values */
  axes(values) {
    this.#axes.add(values);
  }

  /**
   * True while no predictions arrive: what was last said of state and axes holds no longer.
   * @param {boolean} value
   */
  set silent(value) {
    if (!value || this.#policy === null || this.#state === "no_predictions") return;
    byId("evidence").classList.add("unsure");
    this.#axes.use(this.#policy.axes);
    this.#show("no_predictions", performance.now(), 0);
  }

  /**
   * Another policy, a pause or its end.
   * @param {{policy?: Policy | null, paused?: boolean | null}} change
   */
  changed({ policy, paused }) {
    this.#changes += 1;
    this.#use({ policy: policy ?? this.#policy, paused: paused ?? this.#paused });
  }

  /** @param {import("./types.d.ts").Control} control */
  #use({ policy, paused }) {
    const before = JSON.stringify(this.#policy);
    this.#policy = policy;
    this.#paused = paused;
    byId("control").hidden = policy === null;
    byId("no-control").hidden = policy !== null;
    const button = byId("control-pause");
    button.setAttribute("aria-pressed", String(paused));
    if (button.firstElementChild) button.firstElementChild.textContent = text(paused ? "control.resume" : "control.pause");
    byId("control-paused").hidden = !paused;
    if (policy === null) return;
    this.#frontier.use(policy);
    if (JSON.stringify(policy) === before && this.#rows.length) return;
    this.#makeRows(policy);
    this.#axes.use(policy.axes);
  }

  /** @param {Policy} policy */
  #makeRows({ decide, idle, evidence }) {
    const threshold = (/** @type {"commit" | "release"} */ which, /** @type {string} */ name) => {
      const value = decide[which];
      return name === idle ? null : typeof value === "number" ? value : value[name];
    };
    const rest = evidence.kind === "hidden_markov" && !idle; // a state of its own
    this.#rows = [...this.#classes, ...(rest ? ["idle"] : [])].map((name, index) => {
      const isClass = index < this.#classes.length;
      const [commit, release] = isClass ? [threshold("commit", name), threshold("release", name)] : [null, null];
      const limits = commit === null || release === null ? text("control.never_decided") : text("control.limits", { commit: percent(commit), release: percent(release) });
      const fill = element("span", { class: "fill" }), value = element("span", { class: "value", "aria-hidden": "true", text: "–" });
      const label = text("control.evidence_for", { name: className(name), limits });
      const track = element("span", { class: "track", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0", "aria-label": label }, fill);
      for (const [which, at] of /** @type {const} */ ([["release", release], ["commit", commit]])) {
        if (at === null) continue;
        const line = element("span", { class: which });
        line.style.left = `${at * 100}%`;
        track.append(line);
      }
      const mark = element("span", { class: "mark", "aria-hidden": "true", text: isClass ? shape(index) : "" });
      const row = element("div", { class: `bar ${isClass ? `c${index % 6}` : "rest"}`, title: limits }, element("span", { class: "name" }, mark, element("span", { class: "text", text: className(name) })), track, value);
      return { row, track, fill, value, commit };
    });
    byId("evidence").replaceChildren(...this.#rows.map(({ row }) => row));
  }

  /** @param {number} now */
  frame(now) {
    if (!this.active) return;
    this.#axes.frame(now);
    if (this.#last !== null && now - this.#ageAt > AGE_EVERY_MS) this.#showAge(now);
    const newest = this.#newest;
    if (newest === null || newest === this.#shown) return;
    this.#shown = newest;
    const { evidence = [], control = "idle" } = newest;
    const top = control === "active" && this.#last ? this.#classes.indexOf(this.#last.name) : evidence.indexOf(Math.max(...evidence));
    const values = [...evidence, Math.max(0, 1 - evidence.reduce((sum, value) => sum + value, 0))];
    this.#rows.forEach(({ row, track, fill, value, commit }, index) => {
      fill.style.transform = `scaleX(${values[index]})`;
      value.textContent = percent(values[index]);
      track.setAttribute("aria-valuenow", (values[index] * 100).toFixed(0));
      row.classList.toggle("best", commit !== null && values[index] >= commit);
    });
    byId("evidence").classList.toggle("unsure", control === "invalid" || control === "paused");
    if (control === this.#state || now - this.#stateAt > STATE_HELD_MS) this.#show(control, now, top);
  }

  /**
   * The state in words; each is held long enough to be read.
   * @param {string} state
   * @param {number} now
   * @param {number} top index of the class that leads
   */
  #show(state, now, top) {
    const { dwell_s: dwell, refractory_s: refractory } = this.#policy?.decide ?? { dwell_s: 0, refractory_s: 0 };
    const why = hasText(`control.why.${state}`) ? text(`control.why.${state}`, { top: className(this.#classes[top] ?? ""), dwell, refractory }) : "";
    if (state !== this.#state) this.#stateAt = now;
    this.#state = state;
    byId("control-state").dataset.control = state;
    write(byId("control-state"), coded("control.state", state));
    write(byId("control-why"), why);
  }

  /**
   * New nodes, so that the same class decided twice is announced twice.
   * @param {number} now
   */
  #showDecision(now) {
    const index = this.#last ? this.#classes.indexOf(this.#last.name) : -1;
    const mark = element("span", { class: "mark", "aria-hidden": "true", text: index < 0 ? "" : shape(index) });
    const name = element("span", { class: "text", text: this.#last ? className(this.#last.name) : text("control.none_yet") });
    const confidence = element("span", { class: "confidence", text: this.#last ? percent(this.#last.confidence) : "" });
    byId("decision").className = `decision ${index < 0 ? "none" : `c${index % 6}`}`;
    byId("decision-name").replaceChildren(mark, name, confidence);
    this.#showAge(now);
  }

  /** @param {number} now */
  #showAge(now) {
    this.#ageAt = now;
    const age_s = this.#last ? Math.max(0, now - this.#last.madeAt) / 1000 : Infinity;
    byId("decision").classList.toggle("fresh", age_s < FRESH_S);
    byId("decision-age").textContent = this.#last ? text("control.ago", { age: ago(age_s) }) : "";
  }

  #toggle() {
    return this.#command("POST", this.#paused ? "/resume" : "/pause");
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   */
  async #command(method, path, body) {
    const address = this.#path, changes = this.#changes;
    try {
      const answer = await send(method, address + path, body);
      if (address !== this.#path) return;
      this.#problem("");
      if (changes === this.#changes) this.#use(answer); // else the stream has reported it, and perhaps a later change
    } catch (error) {
      if (error instanceof Unauthorised) this.#askForToken();
      this.#problem(error instanceof Refused || error instanceof Unauthorised ? error.message : text("control.unanswered"));
      this.#frontier.use(this.#policy);
    }
  }

  /** @param {string} sentence */
  #problem(sentence) {
    byId("control-problem").hidden = !sentence;
    byId("control-problem").textContent = sentence;
  }
}
