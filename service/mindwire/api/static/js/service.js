// Talking to the service with the token: REST, and streams by the client of programs.

import { Stream } from "../client.js";

let token = sessionStorage.getItem("mindwire-token") ?? "";

/** Take the token from the address, once, so that it does not stay there to be seen or copied. */
export function adoptTokenFromAddress() {
  const address = new URL(location.href);
  const given = address.searchParams.get("token");
  if (given === null) return;
  setToken(given);
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

/** @param {string} value */
export function setToken(value) {
  token = value;
  sessionStorage.setItem("mindwire-token", value);
}

/** The token in use; empty without one. */
export const currentToken = () => token;

export class Unauthorised extends Error {}

/** A refusal by the service; its message is the service's sentence. */
export class Refused extends Error {
  /** @param {string} message @param {number} [status] of HTTP; 0 for what is not sent at all */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * Send a request with the token; throws Unauthorised or Refused. A change may take longer than an answer about what is.
 * @param {string} method
 * @param {string} path
 * @param {{body?: BodyInit, type?: string, patience_ms?: number}} [options]
 */
async function request(method, path, { body, type = "application/json", patience_ms = method === "GET" ? 5000 : 30_000 } = {}) {
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (method !== "GET") headers["Content-Type"] = type;
  const answer = await fetch(path, { method, headers, body, cache: "no-store", signal: AbortSignal.timeout(patience_ms) });
  if (answer.ok) return answer;
  const sentence = (await answer.json().catch(() => ({}))).detail ?? `${path}: ${answer.status}`;
  throw answer.status === 401 ? new Unauthorised(sentence) : new Refused(sentence, answer.status);
}

/**
 * Send a request with a JSON body, if there is one, and return the JSON answer, null for none.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function send(method, path, body) {
  const answer = await request(method, path, { body: JSON.stringify(body) });
  return answer.status === 204 ? null : answer.json();
}

/**
 * Send a file and return the JSON answer.
 * @param {string} path
 * @param {Blob} file
 */
export const upload = async (path, file) => (await request("POST", path, { body: file, type: "application/zip", patience_ms: 600_000 })).json();

/** @param {string} path */
export const getText = async (path) => (await request("GET", path)).text();

/** @param {string} path */
export const get = (path) => send("GET", path);

/** @typedef {import("../client/messages.js").MessageTypes} MessageTypes */
/** @typedef {{[K in keyof MessageTypes]?: (message: MessageTypes[K]) => void}} Callbacks by the type of the messages that they take */

/**
 * Follow a stream until it is closed, also one that does not exist yet.
 * @param {string} stream
 * @param {Callbacks} callbacks
 * @param {(error: Error) => void} failed called with the error that ends it: a TokenError, or a ProtocolError
 * @param {import("../client/stream.js").Options} [options]
 */
export function follow(stream, callbacks, failed, options) {
  const followed = new Stream(undefined, { stream, token, timeout_ms: Infinity, wait: true, ...options });
  for (const type of /** @type {(keyof MessageTypes)[]} */ (Object.keys(callbacks))) followed.on(type, /** @type {any} */ (callbacks[type]));
  followed.ended.then((error) => error && failed(error));
  return followed;
}
