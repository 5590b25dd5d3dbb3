// Requests to the REST interface of a service, with the token.

import { ProtocolError, RefusedError, TokenError, UnreachableError } from "./errors.js";

const ANSWERED_WITHIN_MS = 10_000;

export class Rest {
  #base;
  /** @type {Record<string, string>} */
  #headers = { "Content-Type": "application/json" };

  /** @param {string} base address without a slash at the end @param {string | null} token */
  constructor(base, token) {
    this.#base = base;
    if (token) this.#headers.Authorization = `Bearer ${token}`;
  }

  /**
   * Send a request and return the content of its answer; null if it has none. Throws TokenError, RefusedError with the service's sentence,
   * UnreachableError, or ProtocolError if the answer is no JSON.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   */
  async ask(method, path, body) {
    const signal = AbortSignal.timeout(ANSWERED_WITHIN_MS);
    let answer, content;
    try {
      answer = await fetch(this.#base + path, { method, headers: this.#headers, body: JSON.stringify(body), cache: "no-store", signal });
      content = await answer.text();
    } catch (error) {
      throw new UnreachableError(`${method} ${path} did not reach the service (${error}); check that it runs, and try again.`);
    }
    const parsed = parse(content);
    if (!answer.ok) {
      const sentence = sentenceOf(parsed?.detail) ?? (content.slice(0, 200) || `${method} ${path} was refused with the status ${answer.status}.`);
      if (answer.status === 401 || answer.status === 403) throw new TokenError(sentence);
      throw new RefusedError(answer.status, sentence);
    }
    if (parsed !== undefined) return parsed;
    throw new ProtocolError(`${method} ${path}: expected an answer in JSON, found something else; is the address that of a Mindwire service?`);
  }
}

/** @param {unknown} detail */
const sentenceOf = (detail) => (detail === undefined || typeof detail === "string" ? detail : JSON.stringify(detail));

/** What JSON holds; null for nothing, undefined for no JSON. @param {string} content */
function parse(content) {
  if (!content) return null;
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}
