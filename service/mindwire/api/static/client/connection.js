// Connection to one stream: reads all the time, connects again, and counts by the numbers of predictions what did not arrive.

import { streamPath } from "./address.js";
import { ProtocolError } from "./errors.js";
import { Connection, PROTOCOL_VERSION, decode, make } from "./messages.js";
import { ReconnectingSocket, websocketAddress } from "./websocket.js";

// A browser sends no pings: after this time without a message the client asks the service for the stream's state.
const QUIET_MS = 15_000;
const CHECK_MS = 5000;

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
 * @property {boolean} wait also for a stream that the service does not know yet
 * @property {import("./rest.js").Rest} rest
 * @property {() => number} lslOffset LSL's clock minus `performance.now()`, ms
 * @property {(entry: Entry) => void} deliver
 * @property {(error: Error | null) => void} ended called once, with the error that ended the connection for good
 */

export class Reader {
  #setting;
  #stream;
  #socket;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #check;
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
    this.#socket = new ReconnectingSocket({
      address: () => this.#address(),
      WebSocket: setting.WebSocket,
      wait: setting.wait,
      receive: (data) => this.#receive(data),
      lost: (reason) => this.#lost(reason),
      ended: (error) => {
        clearInterval(this.#check);
        setting.ended(error);
      },
    });
  }

  /** Why there is no connection. */
  get reason() {
    return this.#socket.reason;
  }

  start() {
    this.#check = setInterval(() => this.#checkQuiet(), CHECK_MS);
    this.#socket.start();
  }

  /** End the connection. @param {Error | null} [error] */
  stop(error = null) {
    this.#socket.stop(error);
  }

  #address() {
    const path = this.#stream === null ? "/ws" : streamPath(this.#stream, "/predictions");
    return websocketAddress(new URL(this.#setting.base + path), this.#setting.token);
  }

  /** @param {string} reason */
  #lost(reason) {
    this.#reconnected = true;
    this.#give(make(Connection, { connected: false, reason, received: performance.now() }));
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
    this.#socket.greet();
    this.#restarted ||= Boolean(hello.instance && this.#instance && hello.instance !== this.#instance);
    this.#instance = hello.instance;
    this.#stream = hello.stream;
    this.#state = undefined;
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
    const heard = this.#heard;
    if (!this.#socket.greeted || this.#checking || performance.now() - heard < QUIET_MS) return;
    this.#checking = true;
    const state = await this.#statedState();
    this.#checking = false;
    if (!this.#socket.greeted || heard !== this.#heard) return;
    // where predictions are fresh, or the state is another one than was reported, something should have come
    if (state === undefined || state === "live" || (this.#state !== undefined && state !== this.#state)) {
      this.#socket.drop(`Nothing came for ${Math.round((performance.now() - heard) / 1000)} s.`);
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
