// The signal of a stream for display.

import { addressOf, streamPath } from "./address.js";
import { ReconnectingSocket, websocketAddress } from "./websocket.js";

const HEAD_BYTES = 16;

/**
 * @typedef {object} SignalHello
 * @property {string[]} channels
 * @property {string} unit
 * @property {number} sfreq Hz
 * @property {([number, number, number] | null)[]} positions of the channels on a unit sphere, to the right ear, the nose and the vertex
 */

/**
 * @typedef {object} SignalBlock consecutive samples; those that this program was too slow for are missing before it
 * @property {number} time LSL time of the first sample, s
 * @property {number} n_samples
 * @property {number} n_channels
 * @property {Float32Array} samples channel by channel within each sample
 */

/** The signal of a stream for display, averaged to about 125 Hz, from `start` to `stop`; it connects again by itself. */
export class Signal {
  #socket;
  /** Called with the description, after each connection. @type {(hello: SignalHello) => void} */
  onhello = () => {};
  /** Called with each block, about every 40 ms. @type {(block: SignalBlock) => void} */
  onblock = () => {};
  /** Called with the error that ends it for good: the token is refused, or the stream unknown. @type {(error: Error) => void} */
  onerror = (error) => console.error(error);

  /** @param {{stream: string, token?: string, url?: string, WebSocket?: typeof globalThis.WebSocket}} options the token that reads suffices */
  constructor({ stream, token, url, WebSocket }) {
    const address = websocketAddress(addressOf(streamPath(stream, "/signal"), url), token);
    this.#socket = new ReconnectingSocket({
      address: () => address,
      WebSocket,
      receive: (data) => this.#receive(data),
      ended: (error) => error && this.onerror(error),
    });
  }

  start() {
    this.#socket.start();
  }

  stop() {
    this.#socket.stop();
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    if (typeof data !== "string") {
      this.onblock(blockOf(data));
      return;
    }
    const message = JSON.parse(data);
    if (message.type !== "hello") return;
    this.#socket.greet();
    this.onhello(message);
  }
}

/** A block as the service sends it, little-endian: float64 time, uint32 samples, uint32 channels, float32 values. @param {ArrayBuffer} data @returns {SignalBlock} */
function blockOf(data) {
  const head = new DataView(data, 0, HEAD_BYTES);
  return {
    time: head.getFloat64(0, true),
    n_samples: head.getUint32(8, true),
    n_channels: head.getUint32(12, true),
    samples: new Float32Array(data, HEAD_BYTES),
  };
}
