// Talking to the service: REST with the token, and a websocket that comes back by itself.

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5000;
const UNAUTHORISED = 4401;

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

/**
 * @typedef {object} Handlers
 * @property {() => void} [open] the service has said hello
 * @property {(message: any) => void} [text]
 * @property {(buffer: ArrayBuffer) => void} [binary]
 * @property {() => void} [lost]
 * @property {() => void} [unauthorised]
 */

/** A websocket that reconnects until closed. */
export class Feed {
  #path;
  #handlers;
  /** @type {WebSocket | null} */
  #socket = null;
  #retry = FIRST_RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #closed = false;

  /**
   * @param {string} path
   * @param {Handlers} handlers
   */
  constructor(path, handlers) {
    this.#path = path;
    this.#handlers = handlers;
    this.#connect();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  #connect() {
    const address = new URL(this.#path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (token) address.searchParams.set("token", token);
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.#closed) return;
      if (typeof data !== "string") {
        this.#handlers.binary?.(data);
        return;
      }
      const message = JSON.parse(data);
      if (message.type === "hello") {
        this.#retry = FIRST_RETRY_MS;
        this.#handlers.open?.();
      }
      this.#handlers.text?.(message);
    };
    socket.onclose = ({ code }) => {
      if (this.#closed) return;
      if (code === UNAUTHORISED) {
        this.#handlers.unauthorised?.();
        return;
      }
      this.#handlers.lost?.();
      this.#timer = setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(this.#retry * 1.6, LAST_RETRY_MS);
    };
  }
}
