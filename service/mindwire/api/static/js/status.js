// The stream's state and facts.

import { byId, element, write } from "./dom.js";
import { text } from "./texts.js";
import { bytes, coded, count, fixed, signed } from "./words.js";

/** @typedef {import("./types.d.ts").StreamStatus} StreamStatus */

const USUAL_DRIFT_PPM = 500; // crystals are within a few dozen
const LOW_DISK_BYTES = 1e9;

export class Status {
  #badge = byId("state");
  #reason = byId("reason");
  #facts = byId("facts");
  #recording = byId("recording");
  /** @type {Map<string, string>} */
  #sources = new Map();

  /**
   * @param {string} state
   * @param {string} reason
   */
  state(state, reason) {
    this.#badge.dataset.state = state;
    write(this.#badge, coded("state", state));
    this.#badge.title = text(`state.${state}.means`);
    write(this.#reason, reason);
  }

  /** Nothing is known of the stream any more. */
  unreachable() {
    this.state("unknown", text("live.unreachable"));
    this.#recording.hidden = true;
  }

  /**
   * The name of a source that has gone is needed just then.
   * @param {StreamStatus} status
   */
  #source({ name, source }) {
    if (source) this.#sources.set(name, source.hostname ? text("live.source_on", { source: source.name, host: source.hostname }) : source.name);
    const found = this.#sources.get(name) ?? "–";
    return source || found === "–" ? found : text("live.source_gone", { source: found });
  }

  /** @param {StreamStatus} status */
  facts(status) {
    const { source, model, counters, recording, free_bytes: free } = status;
    this.#recording.hidden = !recording;
    this.#recording.title = recording ? text("live.recording_to", { file: recording }) : "";
    const drifts = source !== null && Math.abs(status.drift_ppm ?? 0) > USUAL_DRIFT_PPM;
    /** @type {[string, string, boolean?][]} */
    const rows = [
      [text("live.fact.source"), this.#source(status)],
      [text("live.fact.rate"), source ? rateText(source.sfreq, status.effective_rate) : "–"],
      [text("live.fact.drift"), source && status.drift_ppm != null ? driftText(status.drift_ppm) : "–", drifts],
      [text("live.fact.model"), status.has_model ? model.name : text("live.no_model")],
      [text("live.fact.runs_on"), `${model.engine}, ${model.device}`],
      [text("live.fact.window"), `${seconds(status.window_samples / status.sfreq)}, ${seconds(status.hop_samples / status.sfreq)}`],
      [text("live.fact.predictions"), text("live.valid_of", { all: count(counters.predictions), valid: count(counters.valid) })],
      [text("live.fact.gaps"), `${count(counters.gaps)}, ${count(counters.reconnects)}`],
      [text("live.fact.skipped"), count(counters.skipped)],
      [text("live.fact.recording"), recording ?? text("live.off")],
      [text("live.fact.disk"), free === null ? "–" : bytes(free), free !== null && free < LOW_DISK_BYTES],
    ];
    if (this.#facts.children.length !== rows.length * 2) this.#facts.replaceChildren(...rows.flatMap(([name]) => [element("dt", { text: name }), element("dd")]));
    rows.forEach(([, value, abnormal = false], i) => {
      const cell = /** @type {HTMLElement} */ (this.#facts.children[2 * i + 1]);
      write(cell, value);
      if (cell.title !== value) cell.title = value;
      cell.classList.toggle("abnormal", abnormal);
    });
  }
}

/** @param {number} value */
const seconds = (value) => (value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${fixed(value, value % 1 ? 2 : 0)} s`);

/**
 * @param {number} nominal
 * @param {number | null} effective
 */
function rateText(nominal, effective) {
  const stated = fixed(nominal, nominal % 1 ? 2 : 0);
  return effective == null ? `${stated} Hz` : text("live.measured", { stated, effective: fixed(effective, 2) });
}

/** @param {number} ppm */
function driftText(ppm) {
  if (Math.abs(ppm) < 1) return "< 1 ppm";
  const value = `${signed(ppm, 0)} ppm`;
  return Math.abs(ppm) > USUAL_DRIFT_PPM ? text("live.unusual", { value }) : value;
}
