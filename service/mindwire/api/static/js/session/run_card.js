// The run: for whom, which paradigm with which numbers, and the control of the task under way.

import { confirmed, element, fill, write } from "../dom.js";
import { get, send } from "../service.js";
import { titleOf } from "../participant/messages.js";
import { isOpen, scoreOf } from "../task.js";
import { plural, text } from "../texts.js";
import { fixed, minutesOf } from "../words.js";
import { secondsOf, showNumbers, trialsOf, withNumbers } from "./numbers.js";

/**
 * @typedef {import("../task.js").Paradigm} Paradigm
 * @typedef {import("../task.js").TaskState} TaskState
 * @typedef {{name: string, title: string, kind: string, built_in: boolean, error: string | null, document: Paradigm | null}} Listed
 * @typedef {(place: HTMLElement, act: () => Promise<unknown>) => Promise<void>} Command
 */

const CALIBRATION = "motor-imagery";
const REST = "rest";
const PARTICIPANT_KEPT_AS = "mindwire-participant";
const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class RunCard {
  #card = part("run");
  #form = /** @type {HTMLFormElement} */ (document.getElementById("run-form"));
  #fields = /** @type {HTMLElement} */ (this.#form.querySelector(".fields"));
  #command;
  #task;
  #changed;
  /** @type {Listed[]} */
  #listed = [];
  /** @type {Paradigm | null} */
  #chosen = null;
  /** @type {Map<string, Paradigm>} paradigms with the numbers that were given to them here */
  #edited = new Map();
  /** @type {string[]} classes of the model in use; empty without one */
  #classes = [];

  /** @param {Command} command @param {import("../task.js").Task} task @param {() => void} changed called when the participant is another */
  constructor(command, task, changed) {
    this.#command = command;
    this.#task = task;
    this.#changed = changed;
    const { participant, paradigm } = this.#inputs;
    participant.value = sessionStorage.getItem(PARTICIPANT_KEPT_AS) ?? "";
    participant.addEventListener("change", () => {
      sessionStorage.setItem(PARTICIPANT_KEPT_AS, this.participant);
      this.#changed();
    });
    paradigm.addEventListener("change", () => this.#choose(paradigm.value));
    this.#fields.addEventListener("input", () => this.#showLength());
    this.#form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      this.start();
    });
    part("keep").addEventListener("click", () => this.#keep());
    part("task-pause").addEventListener("click", () => this.#do("pause"));
    part("task-resume").addEventListener("click", () => this.#do("resume"));
    part("task-abort").addEventListener("click", async () => {
      if (await confirmed(text("session.abort_question"), text("session.abort"))) this.#do("abort");
    });
  }

  /** Another stream's task. @param {import("../task.js").Task} task */
  use(task) {
    this.#task = task;
  }

  get #inputs() {
    return /** @type {{participant: HTMLInputElement, paradigm: HTMLSelectElement, keep: HTMLInputElement}} */ (/** @type {unknown} */ (this.#form.elements));
  }

  get participant() {
    return this.#inputs.participant.value.trim();
  }

  focusParticipant() {
    this.#inputs.participant.focus();
    this.#inputs.participant.scrollIntoView({ block: "center" });
  }

  /** Trials of the paradigm for calibration. */
  get trials() {
    const given = this.#chosen?.name === CALIBRATION ? withNumbers(this.#fields, this.#chosen) : this.#edited.get(CALIBRATION);
    const found = given ?? this.#listed.find(({ name }) => name === CALIBRATION)?.document;
    return found ? trialsOf(found) : 0;
  }

  /** How long the paradigm of rest takes, in words. */
  get restTime() {
    const given = this.#chosen?.name === REST ? withNumbers(this.#fields, this.#chosen) : this.#edited.get(REST);
    const found = given ?? this.#listed.find(({ name }) => name === REST)?.document;
    return found ? minutesOf(found.duration_s ?? 0) : "";
  }

  /** Ask for the paradigms, once. */
  async refresh() {
    if (this.#listed.length) return;
    this.#listed = await get("/v1/paradigms");
    fill(this.#inputs.paradigm, this.#listed.filter(({ document }) => document).map(({ name, document }) => [name, titleOf(/** @type {Paradigm} */ (document))]));
    if (!this.#chosen) this.select(CALIBRATION);
  }

  /** Offer the names of earlier participants. @param {string[]} names */
  participants(names) {
    part("participants").replaceChildren(...names.map((value) => element("option", { value })));
  }

  /** The classes that can be decoded, which feedback and control take. @param {string[]} classes */
  decoded(classes) {
    if (JSON.stringify(classes) === JSON.stringify(this.#classes)) return;
    this.#classes = classes;
    if (this.#chosen) this.#choose(this.#chosen.name);
  }

  /** @param {string} name of a paradigm */
  select(name) {
    this.#inputs.paradigm.value = name;
    this.#choose(name);
  }

  /** @param {string} name */
  #choose(name) {
    const document = this.#listed.find((one) => one.name === name)?.document;
    if (!document) return;
    if (this.#chosen) this.#edited.set(this.#chosen.name, withNumbers(this.#fields, this.#chosen));
    this.#chosen = this.#fitted(this.#edited.get(name) ?? document);
    showNumbers(this.#fields, this.#chosen);
    this.#showLength();
  }

  /** Feedback and control are about the classes of the model in use. @param {Paradigm} paradigm @returns {Paradigm} */
  #fitted(paradigm) {
    const decodes = paradigm.kind === "control" || (paradigm.kind === "cued" && paradigm.feedback !== "none");
    const classes = paradigm.kind === "control" ? this.#classes.slice(0, 4) : this.#classes;
    if (!decodes || classes.length < 2 || paradigm.classes?.every((label) => classes.includes(label))) return paradigm;
    return { ...paradigm, classes, moves: undefined }; // the service gives them directions
  }

  #showLength() {
    if (!this.#chosen) return;
    const now = withNumbers(this.#fields, this.#chosen);
    const trials = trialsOf(now);
    const minutes = secondsOf(now) / 60;
    const time = text("session.minutes", { n: fixed(minutes, minutes < 10 ? 1 : 0) });
    write(part("run-length"), trials ? text(now.kind === "control" ? "session.length_targets" : "session.length_trials", { trials, time }) : time);
  }

  /** Begin a run of the chosen paradigm. @param {string} [name] of another paradigm */
  start(name) {
    if (name && this.#chosen?.name !== name) this.select(name);
    if (!this.#form.reportValidity() || !this.#chosen) return;
    const chosen = this.#chosen;
    const listed = this.#listed.find((one) => one.name === chosen.name)?.document;
    const wanted = withNumbers(this.#fields, chosen);
    const same = JSON.stringify(wanted) === JSON.stringify(listed);
    sessionStorage.setItem(PARTICIPANT_KEPT_AS, this.participant);
    this.#command(this.#card, () => this.#task.begin({ participant: this.participant, paradigm: same ? wanted.name : wanted }));
  }

  #keep() {
    const name = this.#inputs.keep.value.trim();
    if (!name || !this.#chosen || !this.#form.reportValidity()) {
      this.#inputs.keep.focus();
      return;
    }
    const wanted = { ...withNumbers(this.#fields, this.#chosen), name };
    this.#command(this.#card, async () => {
      await send("PUT", `/v1/paradigms/${encodeURIComponent(name)}`, wanted);
      this.#listed = [];
      await this.refresh();
      this.select(name);
      this.#inputs.keep.value = "";
    });
  }

  resume() {
    this.#do("resume");
  }

  /** @param {"pause" | "resume" | "abort"} what */
  #do(what) {
    this.#command(this.#card, () => this.#task.command(what));
  }

  /** @param {TaskState} task @param {string} note what keeps it from going on */
  show(task, note) {
    const open = isOpen(task);
    this.#form.hidden = open;
    part("under-way").hidden = !open;
    const badge = part("run-state");
    badge.dataset.task = task.state;
    write(badge, task.state === "none" ? "" : text(`session.task.${task.state}`));
    badge.hidden = task.state === "none";
    if (!open) return;
    const { done, aborted, decided, right, attempts, reached } = scoreOf(task);
    write(part("task-title"), titleOf(task.paradigm));
    write(part("task-progress"), task.plan.length > 1 ? text("session.progress", { n: task.trials.length - aborted, all: task.plan.length - aborted }) : "");
    write(part("task-score"), decided ? text("session.score", { right, n: decided, percent: Math.round((100 * right) / decided) }) : attempts ? text("session.targets", { reached, n: attempts }) : "");
    this.#showTrials(task, done);
    write(part("task-note"), task.problem ? text(`session.problem.${task.problem}`) : note);
    part("task-resume").hidden = task.state === "running";
    write(part("task-resume"), text(task.state === "ready" ? "session.begin" : "session.resume"));
    part("task-pause").hidden = task.state !== "running";
  }

  /** @param {TaskState} task @param {number} done */
  #showTrials({ plan, trials }, done) {
    const place = part("trials");
    const ended = new Map(trials.map((trial) => [trial.index, trial]));
    const marks = plan.map(({ index }) => {
      const trial = ended.get(index);
      if (!trial) return "";
      if (trial.outcome === "aborted") return "aborted";
      const good = trial.result?.correct ?? trial.result?.reached;
      return good === true ? "right" : good === false ? "wrong" : "done";
    });
    if (place.dataset.marks === marks.join()) return;
    place.dataset.marks = marks.join();
    place.replaceChildren(...marks.map((mark) => element("i", { "data-mark": mark || "ahead" })));
    place.setAttribute("aria-label", plural("session.trials", done));
  }
}
