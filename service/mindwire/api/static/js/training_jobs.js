// Trainings and improvements of the service: how far they are, what became of them, and their reports.

import { button, byId, element, write } from "./dom.js";
import { get, send } from "./service.js";
import { text } from "./texts.js";
import { TrainingReport } from "./training_report.js";
import { ago, clockTime, coded, percent } from "./words.js";

/**
 * @typedef {object} Job
 * @property {string} id
 * @property {string} kind
 * @property {string} participant
 * @property {string | null} stream
 * @property {"running" | "done" | "failed" | "cancelled"} state
 * @property {string} stage
 * @property {number} progress
 * @property {number | null} seconds_left
 * @property {string | null} error
 * @property {string | null} model
 * @property {number} started_unix
 */

/** One job: a row, and its report once it is asked for. */
class Entry {
  #state = element("span", { class: "badge" });
  #about = element("p", { class: "small", role: "status" });
  #bar = element("progress", { max: "1" });
  #cancel;
  #report = element("div");
  #details = element("details", { hidden: true }, element("summary", { text: text("models.job.report") }), this.#report);
  #shown = false;

  /**
   * @param {Job} job
   * @param {import("./commands.js").Command} command
   */
  constructor(job, command) {
    this.#cancel = button(text("models.job.cancel"), () => command(byId("jobs-card"), () => send("DELETE", `/v1/training/${encodeURIComponent(job.id)}`)), "danger");
    this.#cancel.dataset.changes = "";
    this.#bar.setAttribute("aria-label", text("models.job.progress"));
    const title = element("strong", { text: text("models.job.title", { kind: coded("models.job.kind", job.kind), participant: job.participant }) });
    const begun = element("span", { class: "small", text: `${new Date(job.started_unix * 1000).toLocaleDateString(document.documentElement.lang)} ${clockTime(job.started_unix)}` });
    const row = element("div", { class: "row" }, element("span", {}, title, element("br"), begun), this.#about, element("span", {}, this.#bar, this.#state), this.#cancel);
    this.node = element("li", {}, row, this.#details);
    this.#details.addEventListener("toggle", () => this.#showReport(job.id));
    this.show(job);
  }

  /** @param {Job} job */
  show({ state, stage, progress, seconds_left: left, error, model }) {
    const running = state === "running";
    write(this.#state, coded("models.job.state", state));
    this.#state.dataset.state = { running: "settling", done: "live", failed: "failed", cancelled: "stopped" }[state];
    this.#bar.hidden = !running;
    this.#bar.value = progress;
    const wait = left === null ? "" : text("models.job.left", { time: ago(left) });
    const made = model ? text("models.job.made", { model }) : "";
    write(this.#about, running ? [coded("training.stage", stage), percent(progress), wait].filter(Boolean).join(", ") : (error ?? made));
    this.#cancel.hidden = !running;
    this.#details.hidden = state !== "done";
  }

  /** @param {string} id */
  async #showReport(id) {
    if (!this.#details.open || this.#shown) return;
    this.#shown = true;
    const job = await get(`/v1/training/${encodeURIComponent(id)}`);
    new TrainingReport(this.#report).show(job);
  }
}

export class TrainingJobs {
  #command;
  #list = byId("jobs");
  /** @type {Map<string, Entry>} */
  #entries = new Map();

  /** @param {import("./commands.js").Command} command */
  constructor(command) {
    this.#command = command;
  }

  async refresh() {
    /** @type {Job[]} */
    const jobs = await get("/v1/training");
    byId("no-jobs").hidden = jobs.length > 0;
    for (const job of jobs) {
      const entry = this.#entries.get(job.id);
      if (entry) entry.show(job);
      else this.#entries.set(job.id, new Entry(job, this.#command));
    }
    const nodes = jobs.map(({ id }) => /** @type {Entry} */ (this.#entries.get(id)).node);
    if (nodes.length !== this.#list.children.length || nodes.some((node, i) => this.#list.children[i] !== node)) this.#list.replaceChildren(...nodes);
  }
}
