// From runs to a model, and better between runs: jobs with progress, their report, and the change of the model in use.

import { write } from "../dom.js";
import { send } from "../service.js";
import { hasText, text } from "../texts.js";
import { TrainingReport } from "../training_report.js";
import { ago, words } from "../words.js";

/**
 * @typedef {{id: string, kind: "train" | "improve", participant: string, stream: string | null, state: "running" | "done" | "failed" | "cancelled",
 *   stage: string, progress: number, seconds_left: number | null, error: string | null, model: string | null, report: any,
 *   swap_problem?: string | null, started_unix: number, ended_unix: number | null}} Job
 * @typedef {{id: string | null, name: string, sha256: string, streams: string[], error?: string | null}} Model
 * @typedef {import("./run_card.js").Command} Command
 */

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (document.getElementById(id));

/** True if its model may be put live. @param {Job} job */
export const isOffered = ({ state, model, kind, report }) => state === "done" && model !== null && (kind === "train" || report?.gate?.accepted === true);

export class ModelCard {
  #card = /** @type {HTMLElement} */ (part("train").closest(".card"));
  #command;
  #context;
  #report = new TrainingReport(part("report"));
  /** @type {Job | null} */
  #running = null;
  /** @type {string | null} */
  #offered = null;

  /**
   * @param {Command} command
   * @param {() => {stream: string, participant: string}} context
   */
  constructor(command, context) {
    this.#command = command;
    this.#context = context;
    button("train").addEventListener("click", () => this.begin("train"));
    button("improve").addEventListener("click", () => this.begin("improve"));
    button("put-live").addEventListener("click", () => this.putLive());
    button("roll-back").addEventListener("click", () => this.#command(this.#card, () => send("POST", `${this.#address}/model/rollback`)));
    button("job-cancel").addEventListener("click", () => this.#running && this.#command(this.#card, () => send("DELETE", `/v1/training/${encodeURIComponent(this.#running?.id ?? "")}`)));
  }

  get #address() {
    return `/v1/streams/${encodeURIComponent(this.#context().stream)}`;
  }

  /** @param {"train" | "improve"} kind */
  begin(kind) {
    const { stream, participant } = this.#context();
    const swap = /** @type {HTMLInputElement} */ (part("auto-swap")).checked ? "auto" : "offer";
    return this.#command(this.#card, () => send("POST", "/v1/training", { kind, participant, stream, swap }));
  }

  /** Put the offered model live. */
  putLive() {
    if (this.#offered === null) return;
    this.#command(this.#card, () => send("POST", `${this.#address}/model`, { model: this.#offered, when: "ready" }));
  }

  /**
   * @param {{job: Job | null, offered: string | null, live: string | null, swap: any, trainable: boolean, improvable: boolean}} now
   *   ``job`` is the participant's newest, ``swap`` what is known of the models of the stream
   */
  show({ job, offered, live, swap, trainable, improvable }) {
    this.#offered = offered;
    this.#running = job?.state === "running" ? job : null;
    const may = !document.body.classList.contains("reads-only");
    button("train").disabled = !may || this.#running !== null || !trainable;
    button("improve").disabled = !may || this.#running !== null || !improvable;
    write(part("model-note"), this.#running || trainable ? "" : text("session.train_needs"));
    this.#showJob();
    this.#showSwap(swap, live);
    const ended = job && job.state !== "running" ? job : null;
    part("outcome").hidden = !ended && offered === null;
    const failed = ended?.state === "failed" || ended?.state === "cancelled";
    if (failed) write(part("model-note"), ended.error ?? text(`session.job.${ended.state}`));
    else if (ended?.swap_problem) write(part("model-note"), ended.swap_problem);
    part("report").hidden = !ended?.report;
    this.#report.show(ended);
    button("put-live").hidden = offered === null || offered === live || swap?.candidate != null;
    write(button("put-live"), text("session.put_live", { model: offered ?? "" }));
  }

  #showJob() {
    const job = this.#running;
    part("job").hidden = !job;
    if (!job) return;
    write(part("job-title"), text(`session.job.${job.kind}`));
    const stage = hasText(`session.stage.${job.stage}`) ? text(`session.stage.${job.stage}`) : words(job.stage);
    write(part("job-stage"), job.seconds_left === null ? stage : text("session.job_left", { stage, time: ago(job.seconds_left) }));
    /** @type {HTMLProgressElement} */ (part("job-progress")).value = job.progress;
  }

  /** @param {any} swap @param {string | null} live */
  #showSwap(swap, live) {
    const previous = swap?.previous;
    button("roll-back").hidden = !previous;
    if (previous) write(button("roll-back"), text("session.roll_back", { model: previous.name }));
    const candidate = swap?.candidate;
    const wait = candidate?.valid_in_s > 0 ? text("session.valid_in", { s: Math.ceil(candidate.valid_in_s) }) : "";
    write(part("candidate"), candidate ? `${text(`session.candidate.${candidate.state}`, { model: candidate.name })} ${wait}` : live ? text("session.is_live", { model: live }) : "");
  }
}
