// One stream of a service: its messages, its clock, markers and commands.

import { addressOrOwn, streamPath } from "./address.js";
import { Clock } from "./clock.js";
import { Reader } from "./connection.js";
import { ClientError, ConnectionTimeoutError } from "./errors.js";
import { Messages, missedBefore } from "./iterators.js";
import { Markers } from "./markers.js";
import { Rest } from "./rest.js";
import { websocketClass } from "./websocket.js";

const TIMEOUT_MS = 10_000;

/** @typedef {import("./messages.js").AnyMessage} AnyMessage */
/** @typedef {import("./messages.js").MessageTypes} MessageTypes */
/** @typedef {import("./iterators.js").Entry} Entry */

/**
 * @typedef {object} Options
 * @property {string} [token] one that reads suffices to listen
 * @property {string} [stream] name of the stream
 * @property {number} [timeout_ms] longest time until the service is reached, ms, 10 s if left out; Infinity to wait for one that is not there
 *   yet. Later interruptions may last for any time
 * @property {boolean} [wait] true to wait for a stream that the service does not know yet too
 * @property {boolean} [clock] false to measure no clock
 * @property {typeof globalThis.WebSocket} [WebSocket] class of websockets where the environment has none
 */

/**
 * Connect to a stream; rejected at once if the token is wrong or the stream unknown.
 * @param {string} [url] `ws://HOST:PORT/ws` for the only stream of a service, or the address of a stream's predictions; `HOST:PORT`, `http` and
 *   `https` are taken too. If left out, the service that this file came from
 * @param {Options} [options]
 * @returns {Promise<Stream>}
 */
export async function connect(url, options = {}) {
  const stream = new Stream(url, options);
  await stream.opened;
  return stream;
}

/**
 * Messages of one stream. However the connection ends, it is made again, with growing pauses; iterators go on. `connect` waits for the first
 * connection. A stream that is made with `new` does not: functions of `on` are called from the first message on, and `close` ends the attempts.
 */
export class Stream {
  /** State of the stream as last reported: `live` while predictions are fresh; `unknown` before the first report and without a connection. */
  state = "unknown";
  /** True while there is a connection. */
  connected = false;
  /** Predictions that did not reach this program, of which the numbers tell. */
  missed = 0;
  /** LSL's clock beside that of this program. */
  clock;
  /** Resolved at the first connection, rejected if there is none. @type {Promise<void>} */
  opened;
  /** Resolved when the stream has ended for good, with the error, or null if it was closed. @type {Promise<Error | null>} */
  ended;
  #address;
  #token;
  #rest;
  #reader;
  /** @type {Set<Messages<any>>} */
  #iterators = new Set();
  /** @type {Set<{type: string, callback: (message: any) => void}>} */
  #callbacks = new Set();
  /** @type {import("./messages.js").Event | null} */
  #newestState = null;
  /** @type {import("./messages.js").Hello | null} */
  #hello = null;
  /** @type {Markers | null} */
  #markers = null;
  #isEnded = false;
  /** @type {Error | null} */
  #error = null;
  /** @type {() => void} */
  #open = () => {};
  /** @type {(error: Error) => void} */
  #fail = () => {};
  /** @type {(error: Error | null) => void} */
  #tellEnd = () => {};

  /** @param {string} [url] as of `connect` @param {Options} [options] */
  constructor(url, { token, stream, timeout_ms = TIMEOUT_MS, wait = false, clock = true, WebSocket } = {}) {
    websocketClass(WebSocket);
    this.#address = addressOrOwn(url);
    this.#token = token ?? this.#address.token;
    const { base } = this.#address;
    this.#rest = new Rest(base, this.#token);
    this.clock = new Clock({ url: base, token: this.#token ?? undefined, WebSocket });
    this.#reader = new Reader({
      base,
      stream: stream ?? this.#address.stream,
      token: this.#token,
      WebSocket,
      wait,
      rest: this.#rest,
      lslOffset: () => 1000 * (this.clock.state.offset_s ?? NaN),
      deliver: (entry) => this.#deliver(entry),
      ended: (error) => this.#end(error),
    });
    this.opened = new Promise((resolve, reject) => {
      this.#open = resolve;
      this.#fail = reject;
    });
    this.ended = new Promise((resolve) => (this.#tellEnd = resolve));
    if (timeout_ms !== Infinity) this.#limitOpening(timeout_ms);
    this.#reader.start();
    if (clock) this.clock.start();
  }

  /** @param {number} timeout_ms */
  #limitOpening(timeout_ms) {
    const timer = setTimeout(() => {
      const { base } = this.#address;
      const why = this.#reader.reason;
      this.#reader.stop(
        new ConnectionTimeoutError(`${base} could not be reached within ${timeout_ms} ms (${why}); check address and port, or give a longer timeout_ms.`),
      );
    }, timeout_ms);
    this.opened.catch(() => {}).finally(() => clearTimeout(timer));
  }

  /** Description of the stream, the newest. */
  get hello() {
    if (!this.#hello) throw new ClientError("The stream is not open; wait for connect().");
    return this.#hello;
  }

  /** Markers to send. */
  get markers() {
    this.#markers ??= new Markers(this.clock, { stream: this.hello.stream, token: this.#token ?? undefined, url: this.#address.base });
    return this.#markers;
  }

  // ── messages ───────────────────────────────────────────────────────────────────────────────────────

  /**
   * Predictions, or only the valid ones.
   * @param {{valid?: boolean, capacity?: number}} [options] `capacity` is the most messages that wait for a slow user
   * @returns {Messages<import("./messages.js").Prediction>}
   */
  predictions({ valid = false, capacity } = {}) {
    return this.#add((message) => message.type === "prediction" && (message.valid || !valid), { capacity });
  }

  /** @param {{capacity?: number}} [options] @returns {Messages<import("./messages.js").Decision>} */
  decisions(options) {
    return this.#add(({ type }) => type === "decision", options);
  }

  /** Values of the axes. @param {{capacity?: number}} [options] @returns {Messages<import("./messages.js").Axes>} */
  axes(options) {
    return this.#add(({ type }) => type === "axes", options);
  }

  /** Events, or those of some kinds; the newest state is the first. @param {string[]} kinds @returns {Messages<import("./messages.js").Event>} */
  events(...kinds) {
    return this.#add((message) => message.type === "event" && (!kinds.length || kinds.includes(message.kind)));
  }

  /** Notices of the client alone: `connection` and `missed`. */
  notices() {
    return this.messages(["connection", "missed"]);
  }

  /**
   * Messages in their order, all or those of some types; `missed` goes directly before the prediction that follows.
   * @template {keyof MessageTypes} [K=keyof MessageTypes]
   * @param {K[]} [types]
   * @param {{capacity?: number}} [options]
   * @returns {Messages<MessageTypes[K]>}
   */
  messages(types, options) {
    const wanted = types && new Set(/** @type {string[]} */ (types));
    return this.#add(({ type }) => !wanted || wanted.has(type), { ...options, notices: !wanted || wanted.has("missed") });
  }

  /**
   * Have a function called with each message of a type, when it arrives; returns what ends that.
   * @template {keyof MessageTypes} K
   * @param {K} type
   * @param {(message: MessageTypes[K]) => void} callback
   */
  on(type, callback) {
    const one = { type, callback };
    this.#callbacks.add(one);
    return () => void this.#callbacks.delete(one);
  }

  /** @param {(message: AnyMessage) => boolean} wanted @param {{notices?: boolean, capacity?: number}} [options] @returns {Messages<any>} */
  #add(wanted, options) {
    /** @type {Messages<any>} */
    const iterator = new Messages(wanted, { ...options, closed: () => this.#iterators.delete(iterator) });
    if (this.#newestState) iterator.offer({ message: this.#newestState, loss: null });
    if (this.#isEnded) iterator.end(this.#error);
    else this.#iterators.add(iterator);
    return iterator;
  }

  /** @param {Entry} entry */
  #deliver(entry) {
    const { message, loss } = entry;
    if (message.type === "hello") this.#hello = message;
    else if (message.type === "connection") {
      this.connected = message.connected;
      if (!message.connected) [this.state, this.#newestState] = ["unknown", null];
    } else if (message.type === "event" && message.kind === "state") [this.state, this.#newestState] = [String(message.data.state), message];
    if (loss) this.missed += loss.n;
    for (const iterator of this.#iterators) iterator.offer(entry);
    if (loss && message.type === "prediction") this.#call(missedBefore(loss, message));
    this.#call(message);
    if (this.connected) this.#open();
  }

  /** @param {AnyMessage} message */
  #call(message) {
    for (const { type, callback } of this.#callbacks) {
      if (type !== message.type) continue;
      try {
        callback(message);
      } catch (error) {
        console.error(error); // of the user's function: reading goes on
      }
    }
  }

  /** @param {Error | null} error */
  #end(error) {
    [this.#isEnded, this.#error, this.connected] = [true, error, false];
    this.clock.stop();
    this.#fail(error ?? new ClientError("The stream was closed."));
    this.opened.catch(() => {}); // it is for those who wait for it
    for (const iterator of this.#iterators) iterator.end(error);
    this.#iterators.clear();
    this.#tellEnd(error);
  }

  /** End the connection; iterators end after what waits in their queues, and markers are sent for two seconds more. */
  async close() {
    this.#reader.stop();
    await this.#markers?.finish();
  }

  // ── commands: each waits for the answer, and throws RefusedError with the service's sentence, TokenError or UnreachableError ───────

  /** State of the stream: source, quality of channels, counters, latency and more. */
  status() {
    return this.#ask("GET", "");
  }

  /** `policy`, its `hash`, and `paused`. */
  control() {
    return this.#ask("GET", "/control");
  }

  /** Replace the control policy, or change the fields that a document without `version` names; returns the setting. @param {Record<string, any>} policy */
  setPolicy(policy) {
    return this.#ask("PUT", "/control", policy);
  }

  /** Pause control: predictions go on, nothing is decided. */
  pause() {
    return this.#ask("POST", "/control/pause");
  }

  /** Resume control. */
  resume() {
    return this.#ask("POST", "/control/resume");
  }

  /** The model in use, the candidate, and the model before. */
  model() {
    return this.#ask("GET", "/model");
  }

  /** Load another model by its id; it takes over when it is ready, or runs in the shadow until it is promoted. @param {string} model @param {"ready" | "shadow"} [when] */
  swapModel(model, when = "ready") {
    return this.#ask("POST", "/model", { model, when });
  }

  /** Let the candidate take over. */
  promoteModel() {
    return this.#ask("POST", "/model/promote");
  }

  /** End the candidate. */
  dropModel() {
    return this.#ask("POST", "/model/drop");
  }

  /** Use the model before again. */
  rollBackModel() {
    return this.#ask("POST", "/model/rollback");
  }

  /**
   * Command the online adaptation; `updates` and `steps` are the numbers that a rollback undoes.
   * @param {"freeze" | "resume" | "rollback" | "save"} action
   * @param {{updates?: number, steps?: number}} [numbers]
   */
  adaptation(action, { updates = 0, steps = 0 } = {}) {
    return this.#ask("POST", "/adaptation", { action, updates, steps });
  }

  /** @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<Record<string, any>>} */
  async #ask(method, path, body) {
    return (await this.#rest.ask(method, streamPath(this.hello.stream, path), body)) ?? {};
  }
}
