// Websockets of a browser, of Node, or of a class that the program gives; connected again, however they end.

import { ClientError, ProtocolError, TokenError, UnknownStreamError } from "./errors.js";

const PAUSES_MS = [500, 1000, 2000, 4000, 5000];
const GREETED_WITHIN_MS = 10_000;
const OPEN = 1; // of a websocket
const FAILED = 1006;
const END_AFTER_ERROR_MS = 100;
const CLOSED_FOR_TOKEN = 4401;
const CLOSED_AS_UNKNOWN = 4404;
// The other side says that this client breaks the protocol: connecting again would not help.
const CLOSED_FOR_FAULT = new Set([1002, 1003, 1007, 1008, 1009]);

/** The same address for a websocket; a browser sends no header with it, so the token is in it. @param {URL} url @param {string | null} [token] */
export function websocketAddress(url, token) {
  const address = new URL(url);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (token) address.searchParams.set("token", token);
  return address;
}

/**
 * The class of websockets: the one that is given, or that of the environment.
 * @param {typeof globalThis.WebSocket} [given]
 */
export function websocketClass(given) {
  const found = given ?? globalThis.WebSocket;
  if (!found) throw new ClientError("Expected a WebSocket class, found none; start Node 20 with --experimental-websocket, or give one as the option WebSocket.");
  return found;
}

/**
 * Have a function called once, with code and reason, when a connection has ended or could not be made.
 * @param {WebSocket} socket
 * @param {(code: number, reason: string) => void} callback
 */
function onEnd(socket, callback) {
  let ended = false;
  /** @param {number} code @param {string} reason */
  const end = (code, reason) => {
    if (!ended) callback(code, reason);
    ended = true;
  };
  socket.onclose = ({ code, reason }) => end(code, reason);
  socket.onerror = () => setTimeout(end, END_AFTER_ERROR_MS, FAILED, ""); // Node 20 gives no close event where it could not connect
}

/**
 * @typedef {object} Setting
 * @property {() => URL} address
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {boolean} [wait] also for a stream that the service does not know yet
 * @property {(data: any) => void} receive called with each message, text or an ArrayBuffer; a ClientError that it throws ends the connection for good
 * @property {(reason: string) => void} [lost] called when a connection is lost on which the service had said hello
 * @property {(error: Error | null) => void} ended called once, with the error that ended the connection for good, or null
 */

/** A websocket from `start` to `stop`, connected again with growing pauses, however it ends; only what waiting would not mend ends it. */
export class ReconnectingSocket {
  /** Why there is no connection. */
  reason = "The service has not been reached yet.";
  /** True while there is a connection on which the service has said hello. */
  greeted = false;
  #setting;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #running = false;
  #known = false; // greeted once
  #failures = 0;

  /** @param {Setting} setting */
  constructor(setting) {
    this.#setting = setting;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#connect();
  }

  /** @param {Error | null} [error] */
  stop(error = null) {
    if (!this.#running) return;
    this.#running = false;
    this.#leave();
    this.#setting.ended(error);
  }

  /** The service has said hello: called by the user, who knows its messages. */
  greet() {
    clearTimeout(this.#timer);
    this.greeted = this.#known = true;
  }

  /** Leave a connection that is lost, and connect again after a pause. @param {string} reason */
  drop(reason) {
    const { greeted } = this;
    this.#leave();
    this.reason = reason;
    if (greeted) {
      this.#failures = 0;
      this.#setting.lost?.(reason);
    }
    if (!this.#running) return;
    this.#timer = setTimeout(() => this.#connect(), PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)]);
    this.#failures += 1;
  }

  /** Send a message; none where the connection is closing, whose end comes next. @param {string} text */
  send(text) {
    if (this.#socket?.readyState === OPEN) this.#socket.send(text);
  }

  #connect() {
    const { address, WebSocket, receive } = this.#setting;
    const WebSocketClass = websocketClass(WebSocket);
    const socket = new WebSocketClass(address());
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => this.drop("The service did not answer in time."), GREETED_WITHIN_MS);
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#attempt(() => receive(data));
    };
    onEnd(socket, (code, reason) => {
      if (socket === this.#socket) this.#attempt(() => this.drop(this.#explain(code, reason)));
    });
  }

  #leave() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null; // what still comes from it is not taken
    this.greeted = false;
    socket?.close();
  }

  /** Do something; an error of the client ends the connection for good. @param {() => void} act */
  #attempt(act) {
    try {
      act();
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      this.stop(error);
    }
  }

  /** Why there is no connection; throws what waiting would not mend. @param {number} code @param {string} reason */
  #explain(code, reason) {
    if (code === CLOSED_FOR_TOKEN) {
      const given = this.#setting.address().searchParams.has("token");
      throw new TokenError(`${given ? "The token was not accepted; give the right one" : "The service needs a token; give it"} as the option token.`);
    }
    if (code === CLOSED_AS_UNKNOWN && !this.#known && !this.#setting.wait) throw new UnknownStreamError(reason);
    if (CLOSED_FOR_FAULT.has(code)) throw new ProtocolError(`The service ended the connection for good (code ${code}): ${reason}`);
    return reason || (this.greeted ? `The connection was lost (code ${code}).` : `There is no connection (code ${code}).`);
  }
}
