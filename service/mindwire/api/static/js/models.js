// @ts-nocheck
// The list of models: what each demands and where it comes from; upload and deletion.

import { button, confirmed, element, write } from "./dom.js";
import { send, upload } from "./service.js";
import { unitText, words } from "./words.js";

/** Those that a stream can be given, one entry for each. */
export const usable = (listed) => [...new Map(listed.filter(({ id, error }) => id && !error).map((model) => [model.id, model])).values()];

export const shortHash = (hash) => hash.slice(0, 12);

export class Models {
  #command;
  #list = document.getElementById("models");
  #shown = "";

  constructor(command) {
    this.#command = command;
    const form = document.getElementById("upload");
    form.addEventListener("submit", (submission) => {
      submission.preventDefault();
      const { archive, id } = form.elements;
      const said = form.querySelector("[role=status]");
      const [file] = archive.files;
      write(said, `Uploading ${file.name} …`);
      command(form, async () => {
        try {
          const made = await upload(`/v1/models${id.value ? `?id=${encodeURIComponent(id.value)}` : ""}`, file);
          write(said, `${made.id} is verified and in the list.`);
          form.reset();
        } catch (error) {
          write(said, "");
          throw error;
        }
      });
    });
  }

  show(listed) {
    const now = JSON.stringify(listed);
    if (now === this.#shown) return;
    this.#shown = now;
    const open = new Set([...this.#list.querySelectorAll("details[open]")].map((one) => one.dataset.model));
    write(document.getElementById("models-note"), listed.some(({ id }) => id) ? "" : "None in the service's folder.");
    this.#list.replaceChildren(...listed.map((model) => this.#item(model, open)));
  }

  #item(model, open) {
    const { id, name, sha256, classes, error, streams, notice } = model;
    const title = element("span", {}, element("strong", { text: id ?? name }), element("br"), element("span", { class: "small", text: shortHash(sha256) }));
    const about = element("span", { class: error ? "about wrong" : "about", text: error ?? classes.map(words).join(", ") });
    const use = element("span", { class: "small", text: streams.length ? `used by ${streams.join(", ")}` : "not in use" });
    const row = element("div", { class: "row" }, title, about, use, id ? this.#remove(id) : element("span"));
    if (error) return element("li", {}, row);
    const key = `${id ?? ""} ${sha256} ${model.engine}`;
    const details = element("details", { "data-model": key, open: open.has(key) }, element("summary", { text: "Contract, policy, training, card" }), facts(model));
    if (notice) details.append(element("p", { class: "alarm-text", text: notice }));
    if (model.card) details.append(element("pre", { text: model.card.replace(/^---\n[^]*?\n---\n+/, ""), tabindex: "0", "aria-label": `Card of ${name}` }));
    return element("li", {}, row, details);
  }

  #remove(id) {
    const act = async () => {
      if (!(await confirmed(`Delete the model ${id} from the service's folder?`, "Delete"))) return;
      const place = document.getElementById("models").parentElement;
      this.#command(place, () => send("DELETE", `/v1/models/${encodeURIComponent(id)}`));
    };
    const made = button("Delete", act, "danger");
    made.dataset.changes = "";
    made.setAttribute("aria-label", `Delete ${id}`);
    return made;
  }
}

function facts({ name, sha256, engine, device, contract, policy, lineage }) {
  const rows = [["Name", name], ["SHA-256", sha256]];
  if (engine) rows.push(["Runs on", `${engine}, ${device}`]);
  if (contract) {
    const { channels, sfreq, unit, reference, window_samples: window, hop_samples: hop, normalisation } = contract;
    rows.push(
      ["Channels", channels.join(" ")],
      ["Rate, unit", `${sfreq} Hz, ${unitText(unit)}`],
      ["Reference", reference || "not stated"],
      ["Window, hop", `${window}, ${hop} samples`],
      ["Normalisation", words(normalisation.kind)],
    );
  }
  if (policy) {
    const budget = policy.budget_per_minute === null ? "" : `; ${policy.budget_per_minute} false activations a minute allowed, ${policy.proven_per_minute.toFixed(2)} proven`;
    rows.push(["Control policy", `${shortHash(policy.hash)}${budget}`]);
  }
  if (contract) rows.push(["Trained on", lineage ? lineage.recordings.map(({ file, sha256: hash }) => `${file} (${shortHash(hash)})`).join(", ") : "not recorded"]);
  return element("dl", {}, ...rows.flatMap(([term, text]) => [element("dt", { text: term }), element("dd", { text })]));
}
