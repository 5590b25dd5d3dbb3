// LSL's clock, measured over a websocket beside the clock of the program.

import { addressOf } from "./address.js";
import { ClockEstimate } from "./clock_estimate.js";
import { TokenError } from "./errors.js";
import { ReconnectingSocket, websocketAddress } from "./websocket.js";

const FIRST_TRIPS = 12; // close together, then one now and then: the service takes 5 frames a second after a burst of 20
const FIRST_EVERY_MS = 50;
const EVERY_MS = 400;
const ANSWERED_WITHIN_MS = 10_000;

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
  #socket;
  #resolution = clockResolution();
  #estimate = new ClockEstimate(this.#resolution);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #id = 0;
  #trips = 0; // of this connection
  /** @type {Set<(by_ms: number) => void>} */
  #onjump = new Set();

  /**
   * @param {{url?: string, token?: string, WebSocket?: typeof globalThis.WebSocket}} [options] address of the service; a token for it, the one
   * that reads suffices; a class of websockets where the environment has none
   */
  constructor({ url, token, WebSocket } = {}) {
    const address = websocketAddress(addressOf("/v1/clock", url), token);
    this.#socket = new ReconnectingSocket({
      address: () => address,
      WebSocket,
      receive: (data) => this.#receive(performance.now(), data),
      lost: () => clearTimeout(this.#timer),
      ended: (error) => {
        clearTimeout(this.#timer);
        if (error && !(error instanceof TokenError)) console.error(error); // the stream reports what is wrong with the token
      },
    });
  }

  start() {
    this.#socket.start();
  }

  stop() {
    this.#socket.stop();
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

  /** @param {number} returned `performance.now()` @param {string} data */
  #receive(returned, data) {
    const message = JSON.parse(data);
    if (message.type === "hello") {
      this.#socket.greet();
      this.#trips = 0;
      this.#ask();
    } else if (message.type === "clock" && message.id === this.#id) {
      const by = this.#estimate.add({ ...message, returned });
      this.#trips += 1;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#ask(), this.#trips < FIRST_TRIPS ? FIRST_EVERY_MS : EVERY_MS);
      if (by) for (const callback of this.#onjump) callback(by);
    }
  }

  #ask() {
    // the other end may be gone without having said so
    this.#timer = setTimeout(() => this.#socket.drop("The service did not answer in time."), ANSWERED_WITHIN_MS);
    this.#id += 1;
    // the time is taken last: what comes before it would count as the way there
    this.#socket.send(JSON.stringify({ type: "clock", id: this.#id, sent: performance.now() }));
  }
}
