// The form that adds a stream: its source is one that a search of the network has found.

import { byId, element, field, fill, write } from "./dom.js";
import { usable } from "./models.js";
import { get, send } from "./service.js";
import { plural, text } from "./texts.js";
import { fixed } from "./words.js";

/** @typedef {{name: string, type: string, source_id: string, hostname: string, n_channels: number, sfreq: number, streams?: string[]}} Found */

export class AddStream {
  #form = byId("add", HTMLFormElement);
  #note = byId("search-note");
  #list = byId("sources");
  #search = byId("search", HTMLButtonElement);
  /** @type {Found[]} */
  #sources = [];

  /** @param {import("./commands.js").Command} command */
  constructor(command) {
    this.#search.addEventListener("click", () => this.#find());
    this.#select("source").addEventListener("change", () => this.#name());
    this.#form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      command(this.#form, async () => {
        const made = await send("POST", "/v1/streams", this.#described());
        write(this.#note, text("system.added", { id: made.id }));
        field(this.#form, "id").value = "";
      });
    });
  }

  /**
   * @param {string} name
   * @returns {HTMLSelectElement}
   */
  #select(name) {
    return /** @type {HTMLSelectElement} */ (this.#form.elements.namedItem(name));
  }

  /** @param {import("./types.d.ts").Model[]} listed */
  models(listed) {
    fill(this.#select("model"), [["", text("system.of_service")], ...usable(listed).map(({ id }) => /** @type {[string, string]} */ ([id ?? "", id ?? ""]))]);
  }

  async #find() {
    this.#search.disabled = true;
    write(this.#note, text("system.searching"));
    try {
      /** @type {Found[]} */
      const found = await get("/v1/sources");
      this.#sources = found.filter(decodable).sort((a, b) => Number(b.type === "EEG") - Number(a.type === "EEG") || a.name.localeCompare(b.name));
      const source = this.#select("source");
      fill(source, this.#sources.length ? this.#sources.map((one, index) => /** @type {[number, string]} */ ([index, sourceText(one)])) : [["", text("system.none_found")]]);
      source.disabled = !this.#sources.length;
      if (this.#sources.length) this.#name();
      this.#list.replaceChildren(...this.#sources.map((one) => element("li", { text: sourceText(one) })));
      write(this.#note, plural("system.signals", this.#sources.length));
    } catch (error) {
      write(this.#note, error instanceof Error ? error.message : String(error));
    }
    this.#search.disabled = false;
  }

  #name() {
    field(this.#form, "id").value = nameFor(this.#sources[Number(this.#select("source").value)]);
  }

  #described() {
    const found = this.#sources[Number(this.#select("source").value)];
    const [id, model, adapt, participant] = ["id", "model", "adapt", "participant"].map((name) => field(this.#form, name).value.trim());
    const given = { id, name: found.name, source_id: found.source_id, model, adapt, participant };
    if (!found.source_id) Object.assign(given, { type: found.type, hostname: found.hostname });
    return Object.fromEntries(Object.entries(given).filter(([, value]) => value));
  }
}

/**
 * Signals: not markers, which have no rate, and not what a Mindwire service publishes.
 * @param {Found} source
 */
const decodable = ({ sfreq, source_id: source }) => sfreq > 0 && !source.startsWith("mindwire-");

/** @param {Found | undefined} source */
const nameFor = (source) => source?.name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[-._]+|[-._]+$/g, "").slice(0, 64) ?? "";

/** @param {Found} source */
function sourceText({ name, type, hostname, n_channels: channels, sfreq, streams = [] }) {
  const where = hostname ? text("system.source_on", { name, type, host: hostname }) : `${name} (${type})`;
  const used = streams.length ? `; ${text("models.used_by", { streams: streams.join(", ") })}` : "";
  return `${where}: ${plural("system.channels", channels)}, ${fixed(sfreq, sfreq % 1 ? 2 : 0)} Hz${used}`;
}
