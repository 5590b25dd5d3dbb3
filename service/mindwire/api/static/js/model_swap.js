// The model of a stream and another one beside it: swap, shadow with comparison, promotion, and the way back.

import { byId, element, fill, part, write } from "./dom.js";
import { shortHash, usable } from "./models.js";
import { get, send } from "./service.js";
import { text } from "./texts.js";
import { ago, className, coded, count, percent } from "./words.js";

/** @typedef {import("./types.d.ts").Swap} Swap */
/** @typedef {import("./types.d.ts").Candidate} Candidate */

export class ModelSwap {
  #path = "";
  #card = byId("swap");
  #used = byId("swap-used");
  #other = byId("swap-other");
  #choice = byId("swap-choice", HTMLSelectElement);
  #table = byId("swap-comparison");
  #actions = {
    ready: byId("swap-ready", HTMLButtonElement),
    shadow: byId("swap-shadow", HTMLButtonElement),
    promote: byId("swap-promote", HTMLButtonElement),
    drop: byId("swap-drop", HTMLButtonElement),
    rollback: byId("swap-rollback", HTMLButtonElement),
  };

  /** @param {import("./commands.js").Command} command */
  constructor(command) {
    const post = (/** @type {string} */ rest, /** @type {() => object | undefined} */ body) => () => command(this.#card, () => send("POST", `${this.#path}/model${rest}`, body()));
    this.#actions.ready.addEventListener("click", post("", () => ({ model: this.#choice.value, when: "ready" })));
    this.#actions.shadow.addEventListener("click", post("", () => ({ model: this.#choice.value, when: "shadow" })));
    for (const act of /** @type {const} */ (["promote", "drop", "rollback"])) this.#actions[act].addEventListener("click", post(`/${act}`, () => undefined));
  }

  /** @param {string} stream */
  follow(stream) {
    this.#path = `/v1/streams/${encodeURIComponent(stream)}`;
    write(byId("swap-title"), text("models.of", { stream }));
  }

  /** @param {import("./types.d.ts").Model[]} listed */
  models(listed) {
    fill(this.#choice, usable(listed).map(({ id, classes }) => /** @type {[string, string]} */ ([id ?? "", text("models.option", { id: id ?? "", n: classes.length })])));
  }

  async refresh() {
    const asked = this.#path;
    if (!asked) return;
    /** @type {Swap} */
    const swap = await get(`${asked}/model`);
    if (asked === this.#path) this.#show(swap);
  }

  /** @param {Swap} swap */
  #show({ in_use: used, candidate, previous }) {
    this.#card.hidden = false;
    const none = used.name === "none" && !used.sha256;
    write(this.#used, none ? text("models.none_yet") : text("models.runs", { name: used.name, hash: shortHash(used.sha256), engine: used.engine, device: used.device }));
    const before = previous ? text("models.before", { name: previous.name, hash: shortHash(previous.sha256), wait: ago(previous.warm_for_s) }) : text("models.no_candidate");
    write(this.#other, candidate ? candidateText(candidate) : before);
    this.#actions.promote.hidden = candidate?.state !== "shadow";
    this.#actions.drop.hidden = !candidate;
    this.#actions.rollback.hidden = !previous;
    this.#actions.shadow.hidden = none;
    this.#showComparison(candidate);
  }

  /** @param {Candidate | null} candidate */
  #showComparison(candidate) {
    const comparison = candidate?.comparison;
    this.#table.hidden = !comparison?.pairs;
    if (!comparison?.pairs) return;
    const total = (/** @type {Record<string, number>} */ made) => Object.values(made).reduce((sum, n) => sum + n, 0);
    const names = [...new Set(comparison.decisions.flatMap(Object.keys))].sort();
    /** @type {[string, string, string][]} */
    const rows = [
      [text("models.confidence"), percent(comparison.confidence[0]), percent(comparison.confidence[1])],
      [text("models.decisions"), count(total(comparison.decisions[0])), count(total(comparison.decisions[1]))],
      ...names.map((name) => /** @type {[string, string, string]} */ ([`– ${className(name)}`, count(comparison.decisions[0][name] ?? 0), count(comparison.decisions[1][name] ?? 0)])),
    ];
    const line = (/** @type {"td" | "th"} */ tag, /** @type {string[]} */ cells) => element("tr", {}, ...cells.map((cell, i) => (i ? element(tag, { text: cell }) : element("th", { scope: "row", text: cell }))));
    write(byId("swap-agreement"), text("models.agreement", { share: percent(comparison.agreement), n: count(comparison.pairs) }));
    part(this.#table, "tbody").replaceChildren(...rows.map((cells) => line("td", cells)));
  }
}

/** @param {Candidate} candidate */
function candidateText({ name, sha256, when, state, valid_in_s: wait }) {
  const what = `${coded("models.state", state)}: ${name}${sha256 ? ` (${shortHash(sha256)})` : ""}`;
  const next = when === "ready" && state !== "shadow" ? `; ${text("models.takes_over")}` : "";
  return what + (wait !== null && wait > 0 ? `, ${text("models.valid_in", { seconds: Math.ceil(wait) })}` : "") + next;
}
