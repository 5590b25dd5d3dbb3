// A line that names the model in use and the one in its shadow, with how well they agree.

import { byId, element } from "./dom.js";
import { get } from "./service.js";
import { text } from "./texts.js";
import { count, percent } from "./words.js";

const ASK_EVERY_MS = 3000;

export class ShadowLine {
  #line = byId("shadow-line");
  #askedAt = -Infinity;

  clear() {
    this.#line.hidden = true;
    this.#askedAt = -Infinity;
  }

  /**
   * Ask for the candidate, not too often.
   * @param {import("./types.d.ts").StreamStatus & {other_models?: string[]}} status
   */
  async refresh({ name, model, other_models: others = [] }) {
    if (!others.length) {
      this.#line.hidden = true;
      return;
    }
    if (performance.now() - this.#askedAt < ASK_EVERY_MS) return;
    this.#askedAt = performance.now();
    try {
      /** @type {import("./types.d.ts").Swap} */
      const { candidate } = await get(`/v1/streams/${encodeURIComponent(name)}/model`);
      this.#show(model.name, candidate);
    } catch {
      this.#line.hidden = true; // the stream has ended, or the service says itself that it does not answer
    }
  }

  /**
   * @param {string} used
   * @param {import("./types.d.ts").Candidate | null} candidate
   */
  #show(used, candidate) {
    this.#line.hidden = candidate?.state !== "shadow";
    if (!candidate) return;
    const { comparison } = candidate;
    const agreement = comparison?.pairs ? text("live.shadow.agree", { share: percent(comparison.agreement), n: count(comparison.pairs) }) : text("live.shadow.none");
    this.#line.replaceChildren(
      element("span", { class: "sample used", "aria-hidden": "true" }),
      `${text("live.shadow.in_use", { name: used })} `,
      element("span", { class: "sample shadow", "aria-hidden": "true" }),
      `${text("live.shadow.in_shadow", { name: candidate.name })}; ${agreement}`,
    );
  }
}
