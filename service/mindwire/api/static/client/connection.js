// Connection to one stream: reads all the time, connects again, and counts by the numbers of predictions what did not arrive.

import { streamPath } from "./address.js";
import { ProtocolError, TokenError, UnknownStreamError } from "./errors.js";
import { Connection, PROTOCOL_VERSION, decode, make } from "./messages.js";
import { onEnd, websocketAddress, websocketClass } from "./websocket.js";

export const PAUSES_MS = [500, 1000, 2000, 4000, 5000];
const OPEN_WITHIN_MS = 10_000;
// A browser sends no pings: after this time without a message the client asks the service for the stream's state.
const QUIET_MS = 15_000;
const CHECK_MS = 5000;
const CLOSED_FOR_TOKEN = 4401;
const CLOSED_AS_UNKNOWN = 4404;
// The other side says that this client breaks the protocol: connecting again would not help.
const CLOSED_FOR_FAULT = new Set([1002, 1003, 1007, 1008, 1009]);

/** @typedef {import("./messages.js").AnyMessage} AnyMessage */
/** @typedef {import("./messages.js").Hello} Hello */
/** @typedef {import("./iterators.js").Entry} Entry */
/** @typedef {import("./iterators.js").Loss} Loss */

/**
 * @typedef {object} Setting
 * @property {string} base address of the service
 * @property {string | null} stream null for the only one
 * @property {string | null} token
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {import("./rest.js").Rest} rest
 * @property {() => number} lslOffset LSL's clock minus `performance.now()`, ms
 * @property {(entry: Entry) => void} deliver
 * @property {(error: Error | null) => void} ended called once, with the error that ended the connection for good
 */

export class Reader {
  reason = "The service has not been reached yet.";
  #setting;
  #stream;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #check;
  #ended = false;
  #greeted = false; // on this connection
  #known = false; // on any
  #failures = 0;
  #heard = 0;
  #checking = false;
  /** @type {unknown} state of the stream as last reported */
  #state = undefined;
  #instance = "";
  /** `seq` of the last prediction. @type {number | null} */
  #last = null;
  // since that prediction
  #restarted = false;
  #reconnected = false;

  /** @param {Setting} setting */
  constructor(setting) {
    this.#setting = setting;
    this.#stream = setting.stream;
  }

  start() {
    this.#check = setInterval(() => this.#checkQuiet(), CHECK_MS);
    this.#open();
  }

  /** End the connection. @param {Error | null} [error] */
  stop(error = null) {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#check);
    clearTimeout(this.#timer);
    this.#leave();
    this.#setting.ended(error);
  }

  #leave() {
    const socket = this.#socket;
    this.#socket = null; // what still comes from it is not taken
    socket?.close();
  }

  #open() {
    const { base, token, WebSocket } = this.#setting;
    const path = this.#stream === null ? "/ws" : streamPath(this.#stream, "/predictions");
    const WebSocketClass = websocketClass(WebSocket);
    const socket = new WebSocketClass(websocketAddress(new URL(base + path), token));
    this.#socket = socket;
    this.#greeted = false;
    this.#timer = setTimeout(() => this.#lost("The service did not answer in time."), OPEN_WITHIN_MS);
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#attempt(() => this.#receive(data));
    };
    onEnd(socket, (code, reason) => {
      if (socket === this.#socket) this.#attempt(() => this.#lost(this.#explain(code, reason)));
    });
  }

  /** Do something; an error ends the connection for good. @param {() => void} act */
  #attempt(act) {
    try {
      act();
    } catch (error) {
      this.stop(/** @type {Error} */ (error));
    }
  }

  /** @param {string} reason */
  #lost(reason) {
    clearTimeout(this.#timer);
    this.#leave();
    this.reason = reason;
    if (this.#greeted) {
      this.#greeted = false;
      this.#failures = 0;
      this.#reconnected = true;
      this.#give(make(Connection, { connected: false, reason, received: performance.now() }));
    }
    if (this.#ended) return;
    this.#timer = setTimeout(() => this.#open(), PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)]);
    this.#failures += 1;
  }

  /** Why there is no connection; throws what waiting would not mend. @param {number} code @param {string} reason */
  #explain(code, reason) {
    if (code === CLOSED_FOR_TOKEN) throw new TokenError(`${this.#setting.token ? "The token was not accepted; give the right one" : "The service needs a token; give it"} as the option token.`);
    if (code === CLOSED_AS_UNKNOWN && !this.#known) throw new UnknownStreamError(reason);
    if (CLOSED_FOR_FAULT.has(code)) throw new ProtocolError(`The service ended the connection for good (code ${code}): ${reason}`);
    return reason || (this.#greeted ? `The connection was lost (code ${code}).` : `There is no connection (code ${code}).`);
  }

  // ── messages ───────────────────────────────────────────────────────────────────────────────────────

  /** @param {unknown} data */
  #receive(data) {
    this.#heard = performance.now();
    const message = decode(data, this.#heard, this.#setting.lslOffset());
    if (message === null) return;
    if (message.type === "hello") this.#greet(message);
    else this.#give(message);
  }

  /** @param {Hello} hello */
  #greet(hello) {
    if (hello.version !== PROTOCOL_VERSION) {
      throw new ProtocolError(`Expected version ${PROTOCOL_VERSION} of the protocol, found ${hello.version}; take the client of the service, at /client.js.`);
    }
    clearTimeout(this.#timer);
    this.#restarted ||= Boolean(hello.instance && this.#instance && hello.instance !== this.#instance);
    this.#instance = hello.instance;
    this.#stream = hello.stream;
    this.#state = undefined;
    this.#greeted = this.#known = true;
    this.#give(hello);
    this.#give(make(Connection, { connected: true, received: hello.received }));
  }

  /** @param {AnyMessage} message */
  #give(message) {
    if (message.type === "event" && message.kind === "state") this.#state = message.data.state;
    this.#setting.deliver({ message, loss: message.type === "prediction" ? this.#lossBefore(message.seq) : null });
  }

  /** Compare a number with the last one; where they start again, the first is 0. @param {number} seq @returns {Loss | null} */
  #lossBefore(seq) {
    const after = this.#last;
    this.#last = seq;
    const restarted = after !== null && (this.#restarted || seq <= after);
    const reconnected = this.#reconnected;
    this.#restarted = this.#reconnected = false;
    if (after === null) return null;
    const n = restarted ? seq : seq - after - 1;
    return n || restarted ? { n, after, dropped: 0, reconnected, restarted } : null;
  }

  // ── a connection that is dead without having said so ───────────────────────────────────────────────

  async #checkQuiet() {
    const socket = this.#socket;
    const heard = this.#heard;
    if (!socket || !this.#greeted || this.#checking || performance.now() - heard < QUIET_MS) return;
    this.#checking = true;
    const state = await this.#statedState();
    this.#checking = false;
    if (socket !== this.#socket || heard !== this.#heard) return;
    // where predictions are fresh, or the state is another one than was reported, something should have come
    if (state === undefined || state === "live" || (this.#state !== undefined && state !== this.#state)) {
      this.#attempt(() => this.#lost(`Nothing came for ${Math.round((performance.now() - heard) / 1000)} s.`));
    } else this.#heard = performance.now();
  }

  /** State of the stream that the service states; undefined if it does not. @returns {Promise<unknown>} */
  async #statedState() {
    try {
      return (await this.#setting.rest.ask("GET", streamPath(this.#stream ?? "")))?.state;
    } catch {
      return undefined;
    }
  }
}
