// The list of models: what each demands and where it comes from; upload and deletion.

import { button, byId, confirmed, element, field, part, write } from "./dom.js";
import { send, upload } from "./service.js";
import { text } from "./texts.js";
import { className, fixed, unitText, words } from "./words.js";

/** @typedef {import("./types.d.ts").Model} Model */

/**
 * Those that a stream can be given, one entry for each.
 * @param {Model[]} listed
 */
export const usable = (listed) => [...new Map(listed.filter(({ id, error }) => id && !error).map((model) => [model.id, model])).values()];

/** @param {string} hash */
export const shortHash = (hash) => hash.slice(0, 12);

export class Models {
  #command;
  #list = byId("models");
  #shown = "";

  /** @param {import("./commands.js").Command} command */
  constructor(command) {
    this.#command = command;
    const form = byId("upload", HTMLFormElement);
    form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      const [file] = field(form, "archive").files ?? [];
      const id = field(form, "id").value;
      const note = part(form, "[role=status]");
      write(note, text("models.uploading", { file: file.name }));
      command(form, async () => {
        try {
          const made = await upload(`/v1/models${id ? `?id=${encodeURIComponent(id)}` : ""}`, file);
          write(note, text("models.uploaded", { id: made.id }));
          form.reset();
        } catch (error) {
          write(note, "");
          throw error;
        }
      });
    });
  }

  /** @param {Model[]} listed */
  show(listed) {
    const now = JSON.stringify(listed);
    if (now === this.#shown) return;
    this.#shown = now;
    const open = new Set([.../** @type {NodeListOf<HTMLElement>} */ (this.#list.querySelectorAll("details[open]"))].map((one) => one.dataset.model ?? ""));
    write(byId("models-note"), listed.some(({ id }) => id) ? "" : text("models.none_in_folder"));
    this.#list.replaceChildren(...listed.map((model) => this.#item(model, open)));
  }

  /**
   * @param {Model} model
   * @param {Set<string>} open
   */
  #item(model, open) {
    const { id, name, sha256, classes, error, streams, notice } = model;
    const title = element("span", {}, element("strong", { text: id ?? name }), element("br"), element("span", { class: "small", text: shortHash(sha256) }));
    const about = element("span", { class: error ? "about wrong" : "about", text: error ?? classes.map(className).join(", ") });
    const use = element("span", { class: "small", text: streams.length ? text("models.used_by", { streams: streams.join(", ") }) : text("models.unused") });
    const row = element("div", { class: "row" }, title, about, use, id ? this.#remove(id) : element("span"));
    if (error) return element("li", {}, row);
    const key = `${id ?? ""} ${sha256} ${model.engine}`;
    const details = element("details", { "data-model": key, open: open.has(key) }, element("summary", { text: text("models.details") }), facts(model));
    if (notice) details.append(element("p", { class: "alarm-text", text: notice }));
    if (model.card) details.append(element("pre", { text: model.card.replace(/^---\n[^]*?\n---\n+/, ""), tabindex: "0", "aria-label": text("models.card", { name }) }));
    return element("li", {}, row, details);
  }

  /** @param {string} id */
  #remove(id) {
    const act = async () => {
      if (!(await confirmed(text("models.delete_sure", { id }), text("models.delete")))) return;
      await this.#command(byId("models-card"), () => send("DELETE", `/v1/models/${encodeURIComponent(id)}`));
    };
    const made = button(text("models.delete"), act, "danger");
    made.dataset.changes = "";
    made.setAttribute("aria-label", text("models.delete_one", { id }));
    return made;
  }
}

/** @param {Model} model */
function facts({ name, sha256, engine, device, contract, policy, lineage }) {
  /** @type {[string, string][]} */
  const rows = [[text("models.fact.name"), name], ["SHA-256", sha256]];
  if (engine) rows.push([text("models.fact.runs_on"), `${engine}, ${device}`]);
  if (contract) {
    const { channels, sfreq, unit, reference, window_samples: window, hop_samples: hop, normalisation } = contract;
    rows.push(
      [text("models.fact.channels"), channels.join(" ")],
      [text("models.fact.rate"), `${sfreq} Hz, ${unitText(unit)}`],
      [text("models.fact.reference"), reference || text("models.not_stated")],
      [text("models.fact.window"), text("models.samples", { window, hop })],
      [text("models.fact.normalisation"), words(normalisation.kind)],
    );
  }
  if (policy) {
    const budget = policy.budget_per_minute === null ? "" : `; ${text("models.budget", { budget: policy.budget_per_minute, proven: fixed(policy.proven_per_minute, 2) })}`;
    rows.push([text("models.fact.policy"), `${shortHash(policy.hash)}${budget}`]);
  }
  if (contract) rows.push([text("models.fact.trained_on"), lineage ? lineage.recordings.map(({ file, sha256: hash }) => `${file} (${shortHash(hash)})`).join(", ") : text("models.not_recorded")]);
  return element("dl", {}, ...rows.flatMap(([term, value]) => [element("dt", { text: term }), element("dd", { text: value })]));
}
