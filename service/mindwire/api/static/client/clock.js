// LSL's clock, measured over a websocket beside the clock of the program.

import { addressOf } from "./address.js";
import { ClockEstimate } from "./clock_estimate.js";
import { onEnd, websocketAddress, websocketClass } from "./websocket.js";

const FIRST_TRIPS = 12; // close together, then one now and then: the service takes 5 frames a second after a burst of 20
const FIRST_EVERY_MS = 50;
const EVERY_MS = 400;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
const UNAUTHORISED = 4401;
const ANSWERED_WITHIN_MS = 10_000; // a round trip
const OPEN = 1; // of a websocket

/** Step in which the browser lets its clock advance, ms. */
function clockResolution() {
  const begin = performance.now();
  let last = begin;
  let step = Infinity;
  for (let steps = 0; steps < 5 && last - begin < 20; ) {
    const now = performance.now();
    if (now === last) continue;
    step = Math.min(step, now - last);
    last = now;
    steps += 1;
  }
  return step;
}

/**
 * @typedef {object} ClockState
 * @property {number | null} offset_s LSL's clock minus `performance.now()` in seconds, at present
 * @property {number} drift_ppm how much faster LSL's clock runs, in millionths
 * @property {number | null} uncertainty_ms most that the offset may be wrong
 * @property {number | null} round_trip_ms the shortest
 * @property {number} samples round trips so far
 * @property {boolean} synchronised
 */

/** LSL's clock, measured over a websocket from `start` to `stop`; it connects again by itself. */
export class Clock {
  #address;
  #WebSocket;
  #resolution = clockResolution();
  #estimate = new ClockEstimate(this.#resolution);
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #retry = FIRST_RETRY_MS;
  #running = false;
  #id = 0;
  #trips = 0;
  /** @type {Set<(by_ms: number) => void>} */
  #onjump = new Set();

  /**
   * @param {{url?: string, token?: string, WebSocket?: typeof globalThis.WebSocket}} [options] address of the service; a token for it, the one
   * that reads suffices; a class of websockets where the environment has none
   */
  constructor({ url, token, WebSocket } = {}) {
    this.#address = websocketAddress(addressOf("/v1/clock", url), token);
    this.#WebSocket = WebSocket;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#connect();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = null;
  }

  /** @returns {ClockState} */
  get state() {
    const now = performance.now();
    const known = this.#estimate.samples > 0;
    return {
      offset_s: known ? this.#estimate.offset_ms(now) / 1000 : null,
      drift_ppm: this.#estimate.drift_ppm,
      uncertainty_ms: known ? this.#estimate.uncertainty_ms(now) : null,
      round_trip_ms: known ? this.#estimate.round_trip_ms : null,
      samples: this.#estimate.samples,
      synchronised: this.#estimate.synchronised,
    };
  }

  /** Seconds of LSL's clock now; NaN before the first round trip. */
  now() {
    return this.toLsl(performance.now());
  }

  /** Wait until the clock is synchronised; false if a time is over before. @param {number} [within_ms] */
  async wait(within_ms = Infinity) {
    const end = performance.now() + within_ms;
    while (!this.#estimate.synchronised && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, FIRST_EVERY_MS));
    return this.#estimate.synchronised;
  }

  /** Seconds of LSL's clock at a time of `performance.now()`. @param {number} ms */
  toLsl(ms) {
    return this.#estimate.toOther(ms);
  }

  /** Time of `performance.now()`, ms. @param {number} seconds of LSL's clock */
  toPerformance(seconds) {
    return this.#estimate.toOwn(seconds);
  }

  /** Most that `toLsl` may be wrong at a time of `performance.now()`, ms. @param {number} ms */
  uncertaintyAt(ms) {
    return this.#estimate.uncertainty_ms(ms);
  }

  /** Have a function called at each jump of the clocks, with the milliseconds; returns what ends that. @param {(by_ms: number) => void} callback */
  onjump(callback) {
    this.#onjump.add(callback);
    return () => this.#onjump.delete(callback);
  }

  #connect() {
    const WebSocketClass = websocketClass(this.#WebSocket);
    const socket = new WebSocketClass(this.#address);
    this.#socket = socket;
    this.#trips = 0;
    this.#expect();
    socket.onmessage = ({ data }) => {
      const returned = performance.now();
      if (this.#socket !== socket) return;
      const message = JSON.parse(data);
      if (message.type === "hello") {
        this.#retry = FIRST_RETRY_MS;
        this.#ask();
      } else if (message.type === "clock" && message.id === this.#id) {
        const by = this.#estimate.add({ ...message, returned });
        if (by) for (const callback of this.#onjump) callback(by);
        this.#trips += 1;
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#ask(), this.#trips < FIRST_TRIPS ? FIRST_EVERY_MS : EVERY_MS);
      }
    };
    onEnd(socket, (code) => {
      if (this.#socket !== socket) return;
      clearTimeout(this.#timer);
      if (!this.#running || code === UNAUTHORISED) return;
      this.#timer = setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(2 * this.#retry, LAST_RETRY_MS);
    });
  }

  /** Connect again if no answer comes: the other end may be gone without having said so. */
  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#socket?.close();
      this.#connect();
    }, ANSWERED_WITHIN_MS);
  }

  #ask() {
    if (this.#socket?.readyState !== OPEN) return;
    this.#expect();
    this.#id += 1;
    // the time is taken last: what comes before it would count as the way there
    this.#socket.send(JSON.stringify({ type: "clock", id: this.#id, sent: performance.now() }));
  }
}
