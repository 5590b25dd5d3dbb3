// Websockets of a browser, of Node, or of a class that the program gives.

import { ClientError } from "./errors.js";

const FAILED = 1006;
const END_AFTER_ERROR_MS = 100;

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
export function onEnd(socket, callback) {
  let ended = false;
  /** @param {number} code @param {string} reason */
  const end = (code, reason) => {
    if (!ended) callback(code, reason);
    ended = true;
  };
  socket.onclose = ({ code, reason }) => end(code, reason);
  socket.onerror = () => setTimeout(end, END_AFTER_ERROR_MS, FAILED, ""); // Node 20 gives no close event where it could not connect
}
