// @ts-nocheck
// The stream's state and facts.

import { count, signed } from "./words.js";

const USUAL_DRIFT_PPM = 500; // crystals are within a few dozen
const STATES = {
  searching: "no stream found yet",
  connecting: "a stream was found",
  settling: "samples arrive, predictions are not valid yet",
  live: "predictions arrive",
  stale: "connected, but no samples arrive",
  lost: "the stream has ended",
  failed: "given up after repeated failures",
  stopped: "the service is stopping",
  unknown: "the service does not answer",
};

export class Status {
  #badge = document.getElementById("state");
  #reason = document.getElementById("reason");
  #facts = document.getElementById("facts");
  #recording = document.getElementById("recording");
  #sources = new Map();

  state(state, reason) {
    this.#badge.dataset.state = state;
    this.#badge.textContent = state === "unknown" ? "not connected" : state;
    this.#badge.title = STATES[state] ?? "";
    if (this.#reason.textContent !== reason) this.#reason.textContent = reason;
  }

  /** Nothing is known of the stream any more. */
  unreachable() {
    this.state("unknown", "The service does not answer; what is shown is the last that it said.");
    this.#recording.hidden = true;
  }

  /** The name of a source that has gone is needed just then. */
  #source({ name, source }) {
    if (source) this.#sources.set(name, `${source.name}${source.hostname ? ` on ${source.hostname}` : ""}`);
    const text = this.#sources.get(name) ?? "–";
    return source || text === "–" ? text : `${text} (gone)`;
  }

  facts(status) {
    const { source, model, counters, recording } = status;
    this.#recording.hidden = !recording;
    this.#recording.title = recording ? `Recording to ${recording}` : "";
    const rows = [
      ["Source", this.#source(status)],
      ["Rate", source ? rateText(source.sfreq, status.effective_rate) : "–"],
      ["Clock drift", source && status.drift_ppm != null ? driftText(status.drift_ppm) : "–"],
      ["Model", model.name],
      ["Runs on", `${model.engine}, ${model.device}`],
      ["Window, hop", `${seconds(status.window_samples / status.sfreq)}, ${seconds(status.hop_samples / status.sfreq)}`],
      ["Predictions", `${count(counters.predictions)} (${count(counters.valid)} valid)`],
      ["Gaps, reconnects", `${count(counters.gaps)}, ${count(counters.reconnects)}`],
      ["Skipped", count(counters.skipped)],
      ["Recording", recording ?? "off"],
    ];
    if (this.#facts.children.length !== rows.length * 2) {
      this.#facts.replaceChildren(...rows.flatMap(([name]) => {
        const term = document.createElement("dt");
        term.textContent = name;
        return [term, document.createElement("dd")];
      }));
    }
    rows.forEach(([, text], i) => {
      const cell = this.#facts.children[2 * i + 1];
      if (cell.textContent !== text) cell.textContent = cell.title = text;
    });
    const cells = [...this.#facts.children].filter(({ tagName }) => tagName === "DD");
    cells[2].classList.toggle("abnormal", Boolean(source) && Math.abs(status.drift_ppm ?? 0) > USUAL_DRIFT_PPM);
    cells[4].title = model.engine_reason;
  }
}

const seconds = (value) => (value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(value % 1 ? 2 : 0)} s`);

function rateText(nominal, effective) {
  const measured = effective == null ? "" : `, measured ${effective.toFixed(2)}`;
  return `${nominal.toFixed(nominal % 1 ? 2 : 0)} Hz${measured}`;
}

function driftText(ppm) {
  if (Math.abs(ppm) < 1) return "< 1 ppm";
  return `${signed(ppm, 0)} ppm${Math.abs(ppm) > USUAL_DRIFT_PPM ? ", unusually large" : ""}`;
}
