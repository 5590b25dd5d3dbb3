// @ts-nocheck
// Control: the last decision, the evidence against its thresholds, the state, and the commands to the policy.

import { Axes } from "./axes.js";
import { Frontier } from "./frontier.js";
import { Refused, Unauthorised, send } from "./service.js";
import { ago, percent, shape, words } from "./words.js";

const FRESH_S = 1.5;
const STATE_HELD_MS = 300;
const AGE_EVERY_MS = 100;

const $ = (id) => document.getElementById(id);

/** What a state means, for the class that leads and the times of the policy. */
const STATES = {
  idle: () => "no class has enough evidence",
  ambiguous: (top) => `${top} is above release, below commit`,
  dwelling: (top, { dwell_s }) => `${top} must stay above commit for ${dwell_s} s`,
  active: (top) => `${top} is decided`,
  refractory: (_, { refractory_s }) => `nothing is decided for ${refractory_s} s after a decision`,
  invalid: () => "predictions are not valid, so nothing is decided",
  paused: () => "",
  "no predictions": () => "nothing is decided",
};

export class Control {
  #path = "";
  #askForToken;
  #classes = [];
  #policy = null;
  #paused = false;
  #rows = [];
  #newest = null;
  #shown = null;
  #state = null;
  #stateAt = 0;
  #last = null; // the last decision, and when it was made on this page's clock
  #ageAt = 0;
  #axes = new Axes();
  #frontier = new Frontier((policy) => this.#command("PUT", "", policy));

  constructor(askForToken) {
    this.#askForToken = askForToken;
    $("control-pause").addEventListener("click", () => this.#toggle());
    document.addEventListener("keydown", (event) => {
      const { key, ctrlKey, metaKey, altKey, repeat, target } = event;
      if (key?.toLowerCase() !== "p" || ctrlKey || metaKey || altKey || repeat || this.#policy === null) return;
      if (!target.closest("input:not([type=range]), select, textarea, dialog")) this.#toggle();
    });
  }

  get active() {
    return this.#policy !== null;
  }

  hello({ stream, classes, control }) {
    this.#path = `/v1/streams/${encodeURIComponent(stream)}/control`;
    this.#classes = classes;
    this.#rows = [];
    this.#newest = this.#shown = this.#state = null;
    this.#problem("");
    this.#use(control ?? { policy: null, paused: false });
  }

  clear() {
    this.#last = null;
    this.#showDecision(0);
    this.#use({ policy: null, paused: false });
    $("no-control").hidden = true;
  }

  add(prediction) {
    if (prediction.control) this.#newest = prediction;
  }

  decision({ class: name, confidence, age_ms }, now) {
    this.#last = { name, confidence, madeAt: now - (age_ms ?? 0) };
    this.#show("active", now, this.#classes.indexOf(name));
    this.#showDecision(now);
  }

  /** The last decision that was made before this page was there. */
  recall(last, now) {
    if (!last || this.#last !== null || !this.active) return;
    this.#last = { name: last.class, confidence: last.confidence, madeAt: now - last.age_s * 1000 };
    this.#showDecision(now);
  }

  axes(message, now) {
    this.#axes.add(message, now);
  }

  /** True while no predictions arrive: what was last said of state and axes holds no longer. */
  set silent(value) {
    if (!value || !this.active || this.#state === "no predictions") return;
    $("evidence").classList.add("unsure");
    this.#axes.use(this.#policy.axes);
    this.#show("no predictions", performance.now(), 0);
  }

  /** Another policy, a pause or its end. */
  changed({ policy, paused }) {
    this.#use({ policy: policy ?? this.#policy, paused: paused ?? this.#paused });
  }

  #use({ policy, paused }) {
    const before = JSON.stringify(this.#policy);
    this.#policy = policy;
    this.#paused = paused;
    $("control").hidden = policy === null;
    $("no-control").hidden = policy !== null;
    const button = $("control-pause");
    button.setAttribute("aria-pressed", String(paused));
    button.firstElementChild.textContent = paused ? "Resume control" : "Pause control";
    $("control-paused").hidden = !paused;
    if (policy === null) return;
    this.#frontier.use(policy);
    if (JSON.stringify(policy) === before && this.#rows.length) return;
    this.#makeRows(policy);
    this.#axes.use(policy.axes);
  }

  #makeRows({ decide, idle, evidence }) {
    const threshold = (which, name) => (name === idle ? null : typeof decide[which] === "number" ? decide[which] : decide[which][name]);
    const rest = evidence.kind === "hidden_markov" && !idle; // a state of its own
    this.#rows = [...this.#classes, ...(rest ? ["idle"] : [])].map((name, index) => {
      const isClass = index < this.#classes.length;
      const [commit, release] = isClass ? [threshold("commit", name), threshold("release", name)] : [null, null];
      const row = document.createElement("div");
      row.className = `bar ${isClass ? `c${index % 6}` : "rest"}`;
      row.innerHTML =
        '<span class="name"><span class="mark" aria-hidden="true"></span><span class="text"></span></span>' +
        '<span class="track" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><span class="fill"></span>' +
        '<span class="release"></span><span class="commit"></span></span><span class="value" aria-hidden="true">–</span>';
      const part = (selector) => row.querySelector(selector);
      part(".mark").textContent = isClass ? shape(index) : "";
      part(".text").textContent = words(name);
      for (const [which, value] of [["commit", commit], ["release", release]]) {
        if (value === null) part(`.${which}`).remove();
        else part(`.${which}`).style.left = `${value * 100}%`;
      }
      const limits = commit === null ? "never decided" : `commits at ${percent(commit)}, releases below ${percent(release)}`;
      part(".track").setAttribute("aria-label", `Evidence for ${words(name)}, ${limits}`);
      row.title = limits;
      return { row, track: part(".track"), fill: part(".fill"), value: part(".value"), commit };
    });
    $("evidence").replaceChildren(...this.#rows.map(({ row }) => row));
  }

  frame(now) {
    if (!this.active) return;
    this.#axes.frame(now);
    if (this.#last !== null && now - this.#ageAt > AGE_EVERY_MS) this.#showAge(now);
    const newest = this.#newest;
    if (newest === null || newest === this.#shown) return;
    this.#shown = newest;
    const { evidence, control } = newest;
    const top = control === "active" && this.#last ? this.#classes.indexOf(this.#last.name) : evidence.indexOf(Math.max(...evidence));
    const values = [...evidence, Math.max(0, 1 - evidence.reduce((sum, value) => sum + value, 0))];
    this.#rows.forEach(({ row, track, fill, value, commit }, index) => {
      fill.style.transform = `scaleX(${values[index]})`;
      value.textContent = percent(values[index]);
      track.setAttribute("aria-valuenow", (values[index] * 100).toFixed(0));
      row.classList.toggle("best", commit !== null && values[index] >= commit);
    });
    $("evidence").classList.toggle("unsure", control === "invalid" || control === "paused");
    if (control === this.#state || now - this.#stateAt > STATE_HELD_MS) this.#show(control, now, top);
  }

  /** The state in words; each is held long enough to be read. */
  #show(state, now, top) {
    const text = STATES[state]?.(words(this.#classes[top] ?? ""), this.#policy.decide) ?? "";
    if (state !== this.#state) this.#stateAt = now;
    this.#state = state;
    $("control-state").dataset.control = state;
    if ($("control-state").textContent !== state) $("control-state").textContent = state;
    if ($("control-why").textContent !== text) $("control-why").textContent = text;
  }

  /** New nodes, so that the same class decided twice is announced twice. */
  #showDecision(now) {
    const index = this.#last ? this.#classes.indexOf(this.#last.name) : -1;
    const [mark, name, confidence] = ["mark", "text", "confidence"].map((part) => {
      const made = document.createElement("span");
      made.className = part;
      return made;
    });
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = index < 0 ? "" : shape(index);
    name.textContent = this.#last ? words(this.#last.name) : "none yet";
    confidence.textContent = this.#last ? percent(this.#last.confidence) : "";
    $("decision").className = `decision ${index < 0 ? "none" : `c${index % 6}`}`;
    $("decision-name").replaceChildren(mark, name, confidence);
    this.#showAge(now);
  }

  #showAge(now) {
    this.#ageAt = now;
    const age_s = this.#last ? Math.max(0, now - this.#last.madeAt) / 1000 : Infinity;
    $("decision").classList.toggle("fresh", age_s < FRESH_S);
    $("decision-age").textContent = this.#last ? `${ago(age_s)} ago` : "";
  }

  #toggle() {
    return this.#command("POST", this.#paused ? "/resume" : "/pause");
  }

  async #command(method, path, body) {
    const address = this.#path;
    try {
      const answer = await send(method, address + path, body);
      if (address !== this.#path) return;
      this.#problem("");
      this.#use(answer);
    } catch (error) {
      if (error instanceof Unauthorised) this.#askForToken();
      this.#problem(error instanceof Refused || error instanceof Unauthorised ? error.message : "The service does not answer; nothing was changed.");
      this.#frontier.use(this.#policy);
    }
  }

  #problem(text) {
    $("control-problem").hidden = !text;
    $("control-problem").textContent = text;
  }
}
