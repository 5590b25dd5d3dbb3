// The stream's state and facts, and the tabs of all streams.

import { count, words } from "./words.js";

export class Status {
  #badge = document.getElementById("state");
  #reason = document.getElementById("reason");
  #facts = document.getElementById("facts");
  #tabs = document.getElementById("streams");
  #select;

  constructor(select) {
    this.#select = select;
  }

  state(state, reason) {
    this.#badge.dataset.state = state;
    this.#badge.textContent = state;
    if (this.#reason.textContent !== reason) this.#reason.textContent = reason;
  }

  tabs(streams, selected) {
    const same = this.#tabs.children.length === streams.length && streams.every(({ name }, i) => this.#tabs.children[i].dataset.name === name);
    if (!same) {
      this.#tabs.replaceChildren(...streams.map(({ name }) => {
        const tab = document.createElement("button");
        tab.type = "button";
        tab.dataset.name = name;
        tab.innerHTML = '<span class="dot" aria-hidden="true"></span><span></span>';
        tab.lastElementChild.textContent = name;
        tab.addEventListener("click", () => this.#select(name));
        return tab;
      }));
    }
    streams.forEach(({ name, state }, i) => {
      const tab = this.#tabs.children[i];
      tab.dataset.state = state;
      tab.title = state;
      tab.setAttribute("aria-pressed", String(name === selected));
    });
  }

  facts(status) {
    const { source, model, counters } = status;
    const rows = [
      ["Source", source ? `${source.name}${source.hostname ? ` on ${source.hostname}` : ""}` : "–"],
      ["Rate", source ? rateText(source.sfreq, status.effective_rate) : "–"],
      ["Clock drift", status.drift_ppm == null ? "–" : `${status.drift_ppm.toFixed(1)} ppm`],
      ["Model", model.name],
      ["Runs on", `${model.engine}, ${model.device}`],
      ["Window, hop", `${seconds(status.window_samples / status.sfreq)}, ${seconds(status.hop_samples / status.sfreq)}`],
      ["Predictions", `${count(counters.predictions)} (${count(counters.valid)} valid)`],
      ["Gaps, reconnects", `${count(counters.gaps)}, ${count(counters.reconnects)}`],
      ["Skipped", count(counters.skipped)],
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
    this.#facts.children[9].title = model.engine_reason;
  }
}

const seconds = (value) => (value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(value % 1 ? 2 : 0)} s`);

function rateText(nominal, effective) {
  const measured = effective == null ? "" : `, measured ${effective.toFixed(2)}`;
  return `${nominal.toFixed(nominal % 1 ? 2 : 0)} Hz${measured}`;
}

export const reasonsText = (reasons) => reasons.map(words).join(", ");
