// Addresses of a service's websockets and of its REST interface.

import { ClientError } from "./errors.js";

const PROTOCOLS = new Map([["ws:", "http:"], ["http:", "http:"], ["wss:", "https:"], ["https:", "https:"]]);
const PREDICTIONS = /^(.*)\/v1\/streams\/([^/]+)\/predictions$/;

/**
 * @typedef {object} Address
 * @property {string} base `http` or `https`, host, port and the prefix of a reverse proxy, without a slash at the end
 * @property {string | null} stream that it named
 * @property {string | null} token that it carried
 */

/** @param {string} url */
const urlOf = (url) => {
  try {
    return new URL(url.includes("://") ? url : `ws://${url}`);
  } catch {
    return null;
  }
};

/**
 * The address that a user gave: `ws://HOST:PORT/ws`, one of a stream's predictions, or `HOST:PORT`.
 * @param {string | URL} url
 * @returns {Address}
 */
export function parseAddress(url) {
  const parsed = urlOf(String(url));
  const protocol = parsed && PROTOCOLS.get(parsed.protocol);
  if (!parsed || !protocol) {
    throw new ClientError(`Expected an address such as ws://127.0.0.1:8000/ws, found ${JSON.stringify(String(url))}; give host and port of the service.`);
  }
  let path = parsed.pathname.replace(/\/+$/, "");
  const named = PREDICTIONS.exec(path);
  if (named) path = named[1];
  else path = path.replace(/\/ws$/, "");
  return { base: `${protocol}//${parsed.host}${path}`, stream: named && decodeURIComponent(named[2]), token: parsed.searchParams.get("token") };
}

/** The service that this file came from. */
function ownService() {
  const own = new URL("../..", import.meta.url);
  if (!PROTOCOLS.has(own.protocol)) throw new ClientError("Expected the address of the service, found none; give one such as ws://127.0.0.1:8000/ws.");
  return own.href;
}

/** Address of a part of the service that this file came from, or of another. @param {string} path @param {string} [url] */
export const addressOf = (path, url) => new URL(parseAddress(url ?? ownService()).base + path);

/** @param {string | undefined} url */
export const addressOrOwn = (url) => parseAddress(url ?? ownService());

/** Path of a stream, or of a part of it. @param {string} stream @param {string} [rest] */
export const streamPath = (stream, rest = "") => `/v1/streams/${encodeURIComponent(stream)}${rest}`;
