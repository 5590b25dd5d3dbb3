// Markers to a stream, with the time at which something was on the screen.

import { addressOf, streamPath } from "./address.js";
import { ClientError } from "./errors.js";
import { Frames } from "./frames.js";

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
const REPORT_EVERY_MS = 10_000;
const MOST_AT_ONCE = 100;
const MOST_WAITING = 10_000;
const KEPT_ALIVE = 20_000; // letters: a browser refuses to keep more than 64 KiB alive after the page
const ANSWERED_WITHIN_MS = 10_000;
const REFUSED_FOR_GOOD = new Set([400, 401, 403, 413, 415, 422]);
const REFUSED_ALL = new Set([401, 403]); // not because of one marker

/** @typedef {import("./clock.js").Clock} Clock */
/** @typedef {{label: string, time: number, uncertainty_ms: number | null, id?: string}} Marker time in seconds of LSL's clock */

/** Markers to a stream: those of one page in their order, each sent until the service has taken it. */
export class Markers {
  #clock;
  #markers;
  #report;
  #headers;
  /** Only where there is a display. */
  #frames = "requestAnimationFrame" in globalThis ? new Frames() : null;
  /** @type {Marker[]} */
  #queue = [];
  #prefix = crypto.getRandomValues(new Uint32Array(3)).join("-");
  #number = 0;
  /** @type {Promise<void> | null} */
  #sending = null;
  #timer;
  #reported = -Infinity;
  #forget;
  /** Called with a sentence, and the markers that the service refuses for good. @type {(problem: string, markers: Marker[]) => void} */
  onrefused = (problem, markers) => console.error(problem, markers);

  /** @param {Clock} clock @param {{stream: string, token?: string, url?: string}} options of the stream; the token that controls */
  constructor(clock, { stream, token, url }) {
    this.#clock = clock;
    this.#markers = addressOf(streamPath(stream, "/markers"), url);
    this.#report = addressOf(streamPath(stream, "/clock"), url);
    this.#headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    this.#forget = clock.onjump(() => this.#reportClock(true));
    this.#timer = setInterval(() => this.#reportClock(false), 1000);
  }

  /** Markers that the service has not taken yet. */
  get waiting() {
    return this.#queue.length;
  }

  /** The display's interval between two frames, ms. */
  get frame_ms() {
    return this.#frames?.interval_ms ?? NaN;
  }

  /**
   * Mark the stimulus that is drawn now. Call it in the requestAnimationFrame callback in which it is drawn; for what is not seen use `send`.
   * @param {string} label
   * @returns {Promise<Marker>}
   */
  async atPaint(label) {
    if (!this.#frames) throw new ClientError(`There is no display here, so marker ${label} has no time of painting; use send.`);
    const { time, uncertainty_ms } = await this.#frames.presentation();
    return this.send(label, this.#clock.toLsl(time), this.#clock.uncertaintyAt(time) + uncertainty_ms);
  }

  /**
   * Send a marker with a time in seconds of LSL's clock, now if none is given; it waits in a queue until the service has taken it.
   * @param {string} label
   * @param {number} [time]
   * @param {number | null} [uncertainty_ms] that of the clock, if no time is given
   * @returns {Marker}
   */
  send(label, time, uncertainty_ms = null) {
    if (time === undefined) {
      const now = performance.now();
      return this.send(label, this.#clock.toLsl(now), this.#clock.uncertaintyAt(now));
    }
    if (!Number.isFinite(time)) throw new ClientError(`The clock is not synchronised yet, so marker ${label} has no time; call clock.wait() before.`);
    this.#number += 1;
    const marker = { label, time, uncertainty_ms };
    if (this.#queue.length >= MOST_WAITING) {
      this.onrefused(`${MOST_WAITING} markers wait for the service, so that no more are kept.`, [marker]);
      return marker;
    }
    // the service knows by the id if it has taken it before
    this.#queue.push({ ...marker, id: `${this.#prefix}-${this.#number}` });
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = null));
    return marker;
  }

  /** Wait until the service has taken all markers, or until a time is over; returns how many it has not. @param {number} [within_ms] */
  async flush(within_ms = Infinity) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const over = new Promise((resolve) => (timer = within_ms === Infinity ? undefined : setTimeout(resolve, within_ms, true)));
    while (this.#sending && this.#queue.length && !(await Promise.race([this.#sending, over])));
    clearTimeout(timer);
    return this.#queue.length;
  }

  /** Measure frames and report the clock no more; what waits is still sent. */
  close() {
    clearInterval(this.#timer);
    this.#forget();
    this.#frames?.close();
  }

  /** Wait for the last markers, until a time is over, and close; those that are not taken by then go to `onrefused`. @param {number} [within_ms] */
  async finish(within_ms = 2000) {
    const lost = (await this.flush(within_ms)) ? this.#queue.splice(0) : [];
    this.close();
    if (lost.length) this.onrefused("The connection was closed before the service took the markers.", lost);
  }

  async #sendAll() {
    let retry = FIRST_RETRY_MS;
    let alone = 0; // the next ones are sent one by one, for one of them is refused
    while (this.#queue.length) {
      const batch = this.#queue.slice(0, alone ? 1 : MOST_AT_ONCE);
      const problem = await this.#post(this.#markers, { markers: batch });
      if (problem && !problem.final) {
        await new Promise((resolve) => setTimeout(resolve, retry));
        retry = Math.min(2 * retry, LAST_RETRY_MS);
        continue;
      }
      retry = FIRST_RETRY_MS;
      if (problem && !problem.all && batch.length > 1) {
        alone = batch.length;
        continue;
      }
      if (this.#queue[0] !== batch[0]) return; // given up meanwhile
      this.#queue.splice(0, batch.length);
      alone = Math.max(0, alone - 1);
      if (problem) this.onrefused(problem.text, batch);
    }
  }

  /** Post something; null once it is taken. @param {URL} address @param {object} body */
  async #post(address, body) {
    try {
      const content = JSON.stringify(body), signal = AbortSignal.timeout(ANSWERED_WITHIN_MS);
      const answer = await fetch(address, { method: "POST", headers: this.#headers, body: content, keepalive: content.length < KEPT_ALIVE, signal });
      if (answer.ok) return null;
      const { detail } = await answer.json().catch(() => ({ detail: undefined }));
      return { final: REFUSED_FOR_GOOD.has(answer.status), all: REFUSED_ALL.has(answer.status), text: detail ?? `The service answers ${answer.status}.` };
    } catch (error) {
      return { final: false, all: true, text: String(error) };
    }
  }

  /** Have offset, drift and uncertainty recorded, every ten seconds and when the clock jumps. @param {boolean} jump */
  #reportClock(jump) {
    const { offset_s, drift_ppm, uncertainty_ms, round_trip_ms, synchronised } = this.#clock.state;
    const now = performance.now();
    if (!synchronised || (!jump && now - this.#reported < REPORT_EVERY_MS)) return;
    this.#reported = now;
    this.#post(this.#report, { offset_s, drift_ppm, uncertainty_ms, round_trip_ms, jump });
  }
}
