// A stream from a source on the network; no model is needed.

import { fill, write } from "../dom.js";
import { get, send } from "../service.js";
import { plural, text } from "../texts.js";
import { fixed } from "../words.js";

/** @typedef {{name: string, type: string, source_id: string, hostname: string, n_channels: number, sfreq: number, streams?: string[]}} Source */

const AGAIN_MS = 2000; // after a search that found nothing

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class AddSource {
  #form = /** @type {HTMLFormElement} */ (document.getElementById("connect-form"));
  #note = part("search-note");
  #button = /** @type {HTMLButtonElement} */ (part("search"));
  /** @type {Source[]} */
  #sources = [];
  #searches = 0;

  /** @param {import("./run_card.js").Command} command @param {(name: string) => Promise<void>} added */
  constructor(command, added) {
    const { source, id } = this.#inputs;
    this.#button.addEventListener("click", () => this.search());
    source.addEventListener("change", () => {
      id.value = nameFor(this.#sources[Number(source.value)]);
    });
    this.#form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      const found = this.#sources[Number(source.value)];
      if (!found) {
        this.search();
        return;
      }
      const { name, source_id, type, hostname } = found;
      const given = source_id ? { id: id.value, name, source_id } : { id: id.value, name, type, hostname };
      command(/** @type {HTMLElement} */ (this.#form.closest(".card")), async () => {
        const made = await send("POST", "/v1/streams", given);
        await added(made.id ?? given.id);
      });
    });
  }

  get #inputs() {
    return /** @type {{source: HTMLSelectElement, id: HTMLInputElement}} */ (/** @type {unknown} */ (this.#form.elements));
  }

  /** Search the network, and choose what looks most like EEG; where nothing is found, again and quietly. @param {boolean} again */
  async search(again = false) {
    this.#searches += 1;
    const number = this.#searches;
    if (!again) {
      this.#button.disabled = true;
      write(this.#note, text("session.searching"));
    }
    /** @type {Source[]} */
    let found;
    try {
      found = await get("/v1/sources");
    } catch (error) {
      if (number === this.#searches) {
        write(this.#note, error instanceof Error ? error.message : String(error));
        this.#button.disabled = false;
      }
      return;
    }
    if (number !== this.#searches) return; // a later one is under way
    this.#button.disabled = false;
    this.#show(found.filter(isSignal), again);
    if (!this.#sources.length) {
      setTimeout(() => {
        if (number === this.#searches && this.#form.checkVisibility()) this.search(true);
      }, AGAIN_MS);
    }
  }

  /** @param {Source[]} found @param {boolean} again */
  #show(found, again) {
    this.#sources = found.sort((a, b) => Number(b.type === "EEG") - Number(a.type === "EEG") || a.name.localeCompare(b.name));
    const { source, id } = this.#inputs;
    fill(source, found.length ? found.map((one, at) => [at, sourceText(one)]) : [["", text("session.none_found")]]);
    source.disabled = !found.length;
    write(this.#note, found.length ? plural("session.found", found.length) : text("session.found_none"));
    if (!found.length) return;
    if (again && id.value) return; // the operator is typing
    id.value = nameFor(this.#sources[Number(source.value)]);
    if (!again) source.focus();
  }
}

/** Not markers, which have no rate, and not what a service publishes. @param {Source} source */
const isSignal = ({ sfreq, source_id: source }) => sfreq > 0 && !source.startsWith("mindwire-");

/** @param {Source | undefined} source */
const nameFor = (source) => source?.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[-._]+|[-._]+$/g, "").slice(0, 64) ?? "";

/** @param {Source} source */
function sourceText({ name, type, hostname, n_channels: channels, sfreq, streams = [] }) {
  const values = { name, type, host: hostname, channels, rate: fixed(sfreq, sfreq % 1 ? 2 : 0), streams: streams.join(", ") };
  return text(streams.length ? "session.source_used" : "session.source_free", values);
}
