// @ts-nocheck
// The form that adds a stream: its source is one that a search of the network has found.

import { fill, write } from "./dom.js";
import { get, send } from "./service.js";
import { usable } from "./models.js";
import { count } from "./words.js";

export class AddStream {
  #form = document.getElementById("add");
  #note = document.getElementById("search-note");
  #sources = [];

  constructor(command) {
    const { source, id } = this.#form.elements;
    document.getElementById("search").addEventListener("click", () => this.#search());
    source.addEventListener("change", () => {
      id.value = nameFor(this.#sources[source.value]);
    });
    this.#form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      command(this.#form, async () => {
        const made = await send("POST", "/v1/streams", this.#described());
        write(this.#note, `${made.id} is added.`);
        id.value = "";
      });
    });
  }

  models(listed) {
    fill(this.#form.elements.model, [["", "the service's, or none yet"], ...usable(listed).map((model) => [model.id, model.id])]);
  }

  async #search() {
    const button = document.getElementById("search");
    button.disabled = true;
    write(this.#note, "Searching …");
    try {
      this.#sources = (await get("/v1/sources")).filter(decodable).sort((a, b) => (b.type === "EEG") - (a.type === "EEG") || a.name.localeCompare(b.name));
      const { source, id } = this.#form.elements;
      fill(source, this.#sources.length ? this.#sources.map((found, index) => [index, sourceText(found)]) : [["", "none found"]]);
      source.disabled = !this.#sources.length;
      if (this.#sources.length) id.value = nameFor(this.#sources[source.value]);
      write(this.#note, this.#sources.length === 1 ? "1 signal on the network." : `${this.#sources.length} signals on the network.`);
    } catch (error) {
      write(this.#note, error.message);
    }
    button.disabled = false;
  }

  #described() {
    const { source, id, model, adapt, participant } = this.#form.elements;
    const found = this.#sources[source.value];
    const given = { id: id.value, name: found.name, source_id: found.source_id, model: model.value, adapt: adapt.value, participant: participant.value.trim() };
    if (!found.source_id) Object.assign(given, { type: found.type, hostname: found.hostname });
    return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
  }
}

/** Signals: not markers, which have no rate, and not what a Mindwire service publishes. */
const decodable = ({ sfreq, source_id: source }) => sfreq > 0 && !source.startsWith("mindwire-");

const nameFor = (source) => source?.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[-._]+|[-._]+$/g, "").slice(0, 64) ?? "";

function sourceText({ name, type, hostname, n_channels: channels, sfreq, streams = [] }) {
  const where = hostname ? ` on ${hostname}` : "";
  const rate = sfreq ? `, ${sfreq.toFixed(sfreq % 1 ? 2 : 0)} Hz` : "";
  return `${name} (${type})${where}: ${count(channels)} channels${rate}${streams.length ? `; used by ${streams.join(", ")}` : ""}`;
}
