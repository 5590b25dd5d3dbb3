// One stream on the system page: recording, adaptation, description, and its end.

import { button, confirmed, element, labelled, write } from "./dom.js";
import { shortHash } from "./models.js";
import { Refused, get, send } from "./service.js";
import { text } from "./texts.js";
import { ago, bytes, coded, fixed } from "./words.js";

/**
 * A group of controls with a legend; disabled as a whole where the token only reads.
 * @param {string} name
 * @param {string} className
 * @param {Node[]} children
 */
function group(name, className, ...children) {
  return element("fieldset", { class: `group ${className}`, "data-changes": true }, element("legend", { text: name }), ...children);
}

/** @param {Node[]} all */
const buttons = (...all) => element("div", { class: "buttons" }, ...all);

export class StreamPanel {
  #path;
  #name;
  #command;
  #state = element("span", { class: "badge" });
  #recordingMark = element("span", { class: "recording", text: "REC" });
  #source = element("span", { class: "line" });
  #modelLine = element("span", { class: "line" });
  #reason = element("p", { class: "small" });
  /** @type {HTMLElement} */
  #body;

  // recording
  #recordingText = element("p", { class: "small", role: "status" });
  #disk = element("p", { class: "small" });
  #participant = element("input", { maxlength: "64" });
  #record = button(text("system.record"), () => this.#post("/recording", { participant: this.#participant.value.trim() }), "primary");
  #stop = button(text("system.stop"), () => this.#run(() => send("DELETE", `${this.#path}/recording`)));

  // adaptation
  #adaptationText = element("p", { class: "small" });
  #adaptationAlarm = element("p", { class: "alarm-text", role: "status", hidden: true });
  #save = button(text("system.save"), () => this.#post("/adaptation", { action: "save" }));
  #freeze = button(text("system.freeze"), () => this.#post("/adaptation", { action: "freeze" }));
  #resume = button(text("system.resume"), () => this.#post("/adaptation", { action: "resume" }));
  #updates = element("input", { type: "number", min: "1", max: "600", value: "10" });
  #back = button(text("system.roll_back"), () => this.#post("/adaptation", { action: "rollback", updates: Number(this.#updates.value), steps: Number(this.#updates.value) }));

  // description
  #description = element("textarea", { spellcheck: "false", "aria-label": text("system.description_label") });
  /** @type {Record<string, unknown> | null} */
  #described = null;

  /**
   * @param {string} name
   * @param {import("./commands.js").Command} command
   * @param {boolean} open
   */
  constructor(name, command, open) {
    this.#name = name;
    this.#path = `/v1/streams/${encodeURIComponent(name)}`;
    this.#command = command;
    const adaptation = [this.#adaptationText, this.#adaptationAlarm, buttons(this.#freeze, this.#resume, this.#save), labelled(text("system.take_back"), this.#updates), buttons(this.#back)];
    const description = [this.#description, element("p", { class: "small", text: text("system.description_note") }), buttons(button(text("system.apply"), () => this.#change()), button(text("system.end"), () => this.#end(), "danger"))];
    const groups = element(
      "div",
      { class: "groups" },
      group(text("system.recording"), "", this.#recordingText, this.#disk, labelled(text("system.participant"), this.#participant), buttons(this.#record, this.#stop)),
      group(text("system.adaptation"), "", ...adaptation),
      group(text("system.description"), "wide", ...description),
    );
    this.#body = element("div", { class: "body" }, this.#reason, element("p", { class: "problem wrong", role: "alert", hidden: true }), groups);
    const summary = element("summary", {}, element("h3", { text: name }), element("span", { class: "buttons" }, this.#state, this.#recordingMark), this.#source, this.#modelLine);
    this.node = element("details", { class: "panel", open }, summary, this.#body);
    this.node.addEventListener("toggle", () => this.refresh());
  }

  remove() {
    this.node.remove();
  }

  /** @param {import("./types.d.ts").StreamStatus} status */
  show({ state, state_reason: reason, source, model, has_model: hasModel, recording, adaptation, free_bytes: free }) {
    this.#state.dataset.state = state;
    write(this.#state, coded("state", state));
    this.#recordingMark.hidden = !recording;
    write(this.#source, source ? (source.hostname ? text("live.source_on", { source: source.name, host: source.hostname }) : source.name) : text("system.no_source"));
    write(this.#modelLine, hasModel ? `${model.name} ${shortHash(model.sha256)}` : text("system.no_model"));
    write(this.#reason, reason);
    write(this.#disk, free === null ? "" : text("system.disk", { free: bytes(free) }));
    this.#showAdaptation(adaptation, hasModel);
  }

  /**
   * @param {import("./types.d.ts").Adaptation | null} adaptation
   * @param {boolean} hasModel
   */
  #showAdaptation(adaptation, hasModel) {
    if (adaptation) {
      const { frozen, ready, drift, good_seconds: seconds } = adaptation;
      const now = text(frozen ? "system.frozen" : ready ? "system.adapting" : "system.not_ready");
      write(this.#adaptationText, text("system.adapted", { now, drift: fixed(drift, 2), good: ago(seconds) }));
    } else write(this.#adaptationText, text(hasModel ? "system.no_adaptation" : "system.no_model_adaptation"));
    this.#adaptationAlarm.hidden = !adaptation?.alarm;
    if (adaptation?.alarm) write(this.#adaptationAlarm, text("system.mostly_rest", { rest: ago(adaptation.rest_left_out_s) }));
    this.#save.disabled = !adaptation;
    this.#freeze.disabled = !adaptation || adaptation.frozen;
    this.#resume.disabled = !adaptation?.frozen;
    this.#back.disabled = !adaptation;
  }

  /** What only an open panel asks for. */
  async refresh() {
    if (!this.node.open) return;
    try {
      this.#showRecording(await get(`${this.#path}/recording`));
      if (this.#described === null) await this.#describe();
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the stream has ended meanwhile, or its worker does not answer
    }
  }

  /** @param {{recording: boolean, file: string | null, participant: string | null, problems: string[]}} recording */
  #showRecording({ recording, file, participant, problems }) {
    const where = text("system.recording_to", { file: file ?? text("system.file_once") });
    write(this.#recordingText, recording ? [where, ...problems].join(". ") : text("system.not_recording"));
    this.#record.hidden = recording;
    this.#stop.hidden = !recording;
    this.#participant.disabled = recording;
    if (recording && participant) this.#participant.value = participant;
  }

  async #describe() {
    this.#described = await get(`${this.#path}/config`);
    this.#description.value = JSON.stringify(this.#described, null, 2);
  }

  /** @param {() => Promise<unknown>} act */
  #run(act) {
    return this.#command(this.#body, act);
  }

  /**
   * @param {string} rest of the path
   * @param {object} body
   */
  #post(rest, body) {
    return this.#run(() => send("POST", this.#path + rest, body));
  }

  /** Send only the fields that are others; one that was taken out becomes null. */
  #change() {
    return this.#run(async () => {
      const wanted = parsed(this.#description.value);
      const before = this.#described ?? {};
      const fields = Object.fromEntries(
        [...new Set([...Object.keys(wanted), ...Object.keys(before)])]
          .filter((key) => JSON.stringify(wanted[key]) !== JSON.stringify(before[key]))
          .map((key) => [key, wanted[key] ?? null]),
      );
      if (Object.keys(fields).length) await send("PATCH", this.#path, fields);
      await this.#describe();
    });
  }

  async #end() {
    if (await confirmed(text("system.end_sure", { name: this.#name }), text("system.end"))) await this.#run(() => send("DELETE", this.#path));
  }
}

/**
 * @param {string} json
 * @returns {Record<string, unknown>}
 */
function parsed(json) {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Refused(text("system.not_json", { error: error instanceof Error ? error.message : String(error) }));
  }
}
