// @ts-nocheck
// One stream on the system page: its model and the swap of it, recording, adaptation, description, and its end.

import { button, confirmed, element, fill, labelled, write } from "./dom.js";
import { shortHash, usable } from "./models.js";
import { Refused, get, send } from "./service.js";
import { ago, count, percent, words } from "./words.js";

/** A group of controls with a legend; disabled as a whole where the token only reads. */
function group(name, className, ...children) {
  return element("fieldset", { class: `group ${className}`, "data-changes": true }, element("legend", { text: name }), ...children);
}

export class StreamPanel {
  #path;
  #name;
  #command;
  #state = element("span", { class: "badge" });
  #recordingMark = element("span", { class: "recording", text: "REC" });
  #source = element("span", { class: "line" });
  #modelLine = element("span", { class: "line" });
  #reason = element("p", { class: "small" });
  #body;

  // model
  #modelText = element("p", { class: "small" });
  #candidateText = element("p", { class: "small", role: "status" });
  #choice = element("select");
  #promote = button("Promote", () => this.#post("/model/promote"), "primary");
  #drop = button("Drop", () => this.#post("/model/drop"));
  #rollBack = button("Roll back", () => this.#post("/model/rollback"));
  #swap = button("Swap when ready", () => this.#post("/model", { model: this.#choice.value, when: "ready" }));
  #shadow = button("Run as shadow", () => this.#post("/model", { model: this.#choice.value, when: "shadow" }));

  // recording
  #recordingText = element("p", { class: "small", role: "status" });
  #participant = element("input", { maxlength: "64" });
  #record = button("Start recording", () => this.#post("/recording", { participant: this.#participant.value.trim() }), "primary");
  #stop = button("Stop recording", () => this.#run(() => send("DELETE", `${this.#path}/recording`)));

  // adaptation
  #adaptationText = element("p", { class: "small" });
  #adaptationAlarm = element("p", { class: "alarm-text", role: "status", hidden: true });
  #save = button("Save", () => this.#post("/adaptation", { action: "save" }));
  #freeze = button("Freeze", () => this.#post("/adaptation", { action: "freeze" }));
  #resume = button("Resume", () => this.#post("/adaptation", { action: "resume" }));
  #updates = element("input", { type: "number", min: "1", max: "600", value: "10" });
  #back = button("Roll back", () => this.#post("/adaptation", { action: "rollback", updates: Number(this.#updates.value), steps: Number(this.#updates.value) }));

  // description
  #description = element("textarea", { spellcheck: "false", "aria-label": "Description of the stream as JSON" });
  #described = null;

  constructor(name, command, open) {
    this.#name = name;
    this.#path = `/v1/streams/${encodeURIComponent(name)}`;
    this.#command = command;
    const buttons = (...all) => element("div", { class: "buttons" }, ...all);
    this.#body = element(
      "div",
      { class: "body" },
      this.#reason,
      element("p", { class: "problem wrong", role: "alert", hidden: true }),
      element(
        "div",
        { class: "groups" },
        group("Model", "", this.#modelText, labelled("Another model", this.#choice), buttons(this.#swap, this.#shadow), this.#candidateText, buttons(this.#promote, this.#drop, this.#rollBack)),
        group("Recording", "", this.#recordingText, labelled("Participant", this.#participant), buttons(this.#record, this.#stop)),
        group("Adaptation", "", this.#adaptationText, this.#adaptationAlarm, buttons(this.#freeze, this.#resume, this.#save), labelled("Updates to take back", this.#updates), buttons(this.#back)),
        group(
          "Description",
          "wide",
          this.#description,
          element("p", { class: "small", text: "Fields other than control, paused, osc and recording end the stream and begin it again; its clients connect again by themselves." }),
          buttons(button("Apply changes", () => this.#change()), button("End stream", () => this.#end(), "danger")),
        ),
      ),
    );
    this.node = element(
      "details",
      { class: "panel", open },
      element("summary", {}, element("h3", { text: name }), element("span", { class: "buttons" }, this.#state, this.#recordingMark), this.#source, this.#modelLine),
      this.#body,
    );
    this.node.addEventListener("toggle", () => this.refresh().catch(() => {}));
  }

  remove() {
    this.node.remove();
  }

  show({ state, state_reason: reason, source, model, has_model: hasModel, recording, adaptation }) {
    this.#state.dataset.state = state;
    write(this.#state, state);
    this.#recordingMark.hidden = !recording;
    write(this.#source, source ? `${source.name}${source.hostname ? ` on ${source.hostname}` : ""}` : "no source");
    write(this.#modelLine, hasModel ? `${model.name} ${shortHash(model.sha256)}` : "no model yet");
    write(this.#reason, reason);
    write(this.#modelText, hasModel ? `${model.name} (${shortHash(model.sha256)}) on ${model.engine}, ${model.device}` : model.engine_reason);
    this.#shadow.hidden = !hasModel; // there is nothing to compare with
    this.#showAdaptation(adaptation, hasModel);
  }

  models(listed) {
    fill(this.#choice, usable(listed).map(({ id, classes }) => [id, `${id} (${classes.length} classes)`]));
    this.#swap.disabled = this.#shadow.disabled = !this.#choice.options.length;
  }

  #showAdaptation(adaptation, hasModel) {
    const node = this.#adaptationText;
    if (!adaptation) {
      write(node, hasModel ? "This model has no alignment that adapts." : "There is no model yet.");
    } else {
      const { frozen, ready, drift, good_seconds: seconds } = adaptation;
      const now = frozen ? "Frozen" : ready ? "Adapting" : "Not ready yet";
      write(node, `${now}; drift ${drift.toFixed(2)} since it was first ready, ${ago(seconds)} of good signal.`);
    }
    this.#adaptationAlarm.hidden = !adaptation?.alarm;
    if (adaptation?.alarm) write(this.#adaptationAlarm, `Mostly rest: ${ago(adaptation.rest_left_out_s)} of it were not learnt from. Freeze the adaptation, or roll back, if predictions have become worse.`);
    this.#save.disabled = !adaptation;
    this.#freeze.disabled = !adaptation || adaptation.frozen;
    this.#resume.disabled = !adaptation?.frozen;
    this.#back.disabled = !adaptation;
  }

  /** What only an open panel asks for. */
  async refresh() {
    if (!this.node.open) return;
    try {
      const [swap, recording] = await Promise.all([get(`${this.#path}/model`), get(`${this.#path}/recording`)]);
      this.#showSwap(swap);
      this.#showRecording(recording);
      if (this.#described === null) await this.#describe();
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the stream has ended meanwhile, or its worker does not answer
    }
  }

  #showSwap({ candidate, previous }) {
    write(this.#candidateText, candidate ? candidateText(candidate) : previous ? `Before: ${previous.name} (${shortHash(previous.sha256)}), can come back for ${ago(previous.warm_for_s)}` : "");
    this.#promote.hidden = candidate?.state !== "shadow";
    this.#drop.hidden = !candidate;
    this.#rollBack.hidden = !previous;
  }

  #showRecording({ recording, file, participant, problems }) {
    write(this.#recordingText, recording ? `Recording to ${file ?? "a file, once there is a signal"}${problems.map((problem) => `. ${problem}`).join("")}` : "Not recording.");
    this.#record.hidden = recording;
    this.#stop.hidden = !recording;
    this.#participant.disabled = recording;
    if (recording && participant) this.#participant.value = participant;
  }

  async #describe() {
    this.#described = await get(`${this.#path}/config`);
    this.#description.value = JSON.stringify(this.#described, null, 2);
  }

  #run(act) {
    return this.#command(this.#body, act);
  }

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
    if (!(await confirmed(`End the stream ${this.#name}? Its clients are disconnected, and a recording of it ends.`, "End stream"))) return;
    this.#run(() => send("DELETE", this.#path));
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused(`The description is not valid JSON (${error.message}).`);
  }
}

const CANDIDATE = { loading: "Loading", warming: "Warming up", shadow: "In the shadow" };

function candidateText({ name, sha256, when, state, valid_in_s: wait, comparison }) {
  const what = `${CANDIDATE[state] ?? words(state)}: ${name}${sha256 ? ` (${shortHash(sha256)})` : ""}`;
  const next = when === "ready" && state !== "shadow" ? "; it takes over when it is valid" : "";
  return what + (wait > 0 ? `, valid in ${Math.ceil(wait)} s` : "") + next + (comparison ? comparisonText(comparison) : "");
}

function comparisonText({ pairs, agreement, confidence, decisions }) {
  if (!pairs) return "; no window compared yet";
  const total = (made) => Object.values(made).reduce((sum, n) => sum + n, 0);
  const [used, shadow] = decisions.map(total);
  return `; the same class in ${percent(agreement)} of ${count(pairs)} windows, mean confidence ${percent(confidence[0])} in use and ${percent(confidence[1])} in the shadow, decisions ${used} and ${shadow}`;
}
