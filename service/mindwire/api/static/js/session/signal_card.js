// The signal: state of the stream, quality of each channel in words, clocks, and the model in use.

import { element, write } from "../dom.js";
import { hasText, plural, text } from "../texts.js";
import { fixed, words } from "../words.js";

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const MARKS = /** @type {Record<string, string>} */ ({ ok: "✓", suspect: "△", bad: "✗" });

/** @typedef {{label: string, verdict: "ok" | "suspect" | "bad", reasons: string[]}} Channel */

/** @param {string} reason */
const reasonText = (reason) => (hasText(`session.fault.${reason}`) ? text(`session.fault.${reason}`) : words(reason));

/** The state of a stream in a sentence. @param {string} state @param {string} reason the service's sentence */
export const stateText = (state, reason) => (hasText(`session.state_text.${state}`) ? text(`session.state_text.${state}`) : reason);

export class SignalCard {
  #shown = "";

  /** @param {any} status of the stream; null if there is none */
  show(status) {
    const badge = part("stream-state");
    badge.hidden = !status;
    if (!status) {
      write(part("stream-reason"), text("session.no_stream"));
      this.#channels([]);
      for (const id of ["source", "model", "decides"]) write(part(id), "–");
      return;
    }
    const { state, state_reason: reason, source, model, control, quality, recording } = status;
    badge.dataset.state = state;
    write(badge, hasText(`session.state.${state}`) ? text(`session.state.${state}`) : state);
    write(part("stream-reason"), stateText(state, reason));
    part("stream-reason").title = reason;
    this.#channels(quality);
    write(part("source"), source ? `${source.name}${source.hostname ? ` (${source.hostname})` : ""}` : "–");
    write(part("model"), status.has_model === false ? text("session.no_model") : model.name);
    write(part("decides"), text(control === null ? "session.decides.never" : control.paused ? "session.decides.paused" : "session.decides.yes"));
    part("decisions-resume").hidden = !control?.paused;
    const mark = part("recording");
    mark.hidden = !recording;
    write(mark, recording ? text("session.recording", { file: recording.split("/").at(-1) }) : "");
  }

  /** @param {Channel[]} quality */
  #channels(quality) {
    const now = JSON.stringify(quality.map(({ label, verdict, reasons }) => [label, verdict, reasons]));
    if (now === this.#shown) return;
    this.#shown = now;
    part("channels").replaceChildren(...quality.map(({ label, verdict }) =>
      element("li", { "data-verdict": verdict }, element("span", { "aria-hidden": "true", text: MARKS[verdict] }), ` ${label} `, element("span", { class: "hidden-text", text: text(`session.verdict.${verdict}`) }))));
    part("faults").replaceChildren(...faultsOf(quality).map(({ reason, labels, verdict }) =>
      element("li", { "data-verdict": verdict }, element("strong", { text: labels.length > 8 ? plural("session.many_channels", labels.length) : labels.join(", ") }), `: ${reasonText(reason)}`)));
  }

  /** @param {{synchronised: boolean, uncertainty_ms: number | null, drift_ppm: number | null}} clock @param {number | null} markers uncertainty of the last marker in ms */
  clock({ synchronised, uncertainty_ms: uncertainty, drift_ppm: drift }, markers) {
    write(part("clock"), synchronised ? text("session.clock.known", { ms: fixed(Number(uncertainty), 2), ppm: fixed(Number(drift ?? 0), 0) }) : text("session.clock.measuring"));
    write(part("marker-clock"), markers === null ? text("session.markers.none") : text("session.markers.known", { ms: fixed(markers, 1) }));
  }
}

/** Channels by what is wrong with them, the worst first. @param {Channel[]} quality */
function faultsOf(quality) {
  /** @type {Map<string, {reason: string, labels: string[], verdict: string}>} */
  const faults = new Map();
  for (const { label, verdict, reasons } of quality) {
    if (verdict === "ok") continue;
    const reason = reasons[0] ?? "unknown";
    const one = faults.get(reason) ?? { reason, labels: [], verdict };
    one.labels.push(label);
    if (verdict === "bad") one.verdict = "bad";
    faults.set(reason, one);
  }
  return [...faults.values()].sort((a, b) => Number(b.verdict === "bad") - Number(a.verdict === "bad"));
}
