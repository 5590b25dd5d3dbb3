// Mindwire's clock and markers for programs in a browser: the participant's page, jsPsych, PsychoJS, or a page of one's own.
//
//   import { Clock, Markers } from "http://127.0.0.1:8000/client.js";
//   const clock = new Clock();
//   clock.start();
//   const markers = new Markers(clock, { stream: "chair-1" });
//   requestAnimationFrame(() => { show(cue); markers.atPaint("left_hand"); });
//
// The time of a marker is that of the frame in which the stimulus appears on the screen, in seconds of LSL's clock, and never that of
// its arrival. See docs/clock.md for how both are measured, and how well.

import { ClockEstimate } from "./js/clock_estimate.js";

const FIRST_TRIPS = 12; // close together, then one now and then: the service takes 5 frames a second after a burst of 20
const FIRST_EVERY_MS = 50;
const EVERY_MS = 400;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;
const UNAUTHORISED = 4401;
const REPORT_EVERY_MS = 10_000;
const MOST_AT_ONCE = 100;
const MOST_WAITING = 10_000;
const KEPT_ALIVE = 20_000; // letters: a browser refuses to keep more than 64 KiB alive after the page
const ANSWERED_WITHIN_MS = 10_000; // a request, or a round trip
const FRAMES_KEPT = 61;
const USUAL_FRAME_MS = 1000 / 60;
// How a browser rounds the presentation of a frame: to 4 ms for pages that are not isolated from others.
const FINE_MS = 0.2;
const COARSE_MS = 4;
const PRESENTED_WITHIN_MS = 500;
const REFUSED_FOR_GOOD = new Set([400, 401, 403, 413, 415, 422]);
const REFUSED_ALL = new Set([401, 403]); // not because of one marker

/** Address of the service that this file came from, or of another. @param {string} path @param {string} [url] */
const addressOf = (path, url) => new URL(path, url ?? import.meta.url);

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
  #resolution = clockResolution();
  #estimate = new ClockEstimate(this.#resolution);
  /** @type {WebSocket | null} */
  #socket = null;
  #timer = 0;
  #retry = FIRST_RETRY_MS;
  #running = false;
  #id = 0;
  #trips = 0;
  /** @type {Set<(by_ms: number) => void>} */
  #onjump = new Set();

  /** @param {{url?: string, token?: string}} [options] address of the service, and a token for it, the one that reads suffices */
  constructor({ url, token } = {}) {
    this.#address = addressOf("/v1/clock", url);
    this.#address.protocol = this.#address.protocol === "https:" ? "wss:" : "ws:";
    if (token) this.#address.searchParams.set("token", token);
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
    const socket = new WebSocket(this.#address);
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
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      clearTimeout(this.#timer);
      if (!this.#running || code === UNAUTHORISED) return;
      this.#timer = setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(2 * this.#retry, LAST_RETRY_MS);
    };
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
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#expect();
    this.#id += 1;
    // the time is taken last: what comes before it would count as the way there
    this.#socket.send(JSON.stringify({ type: "clock", id: this.#id, sent: performance.now() }));
  }
}

/**
 * When frames are on the screen. Where the browser reports it (Element Timing: Chromium) the time of presentation is measured, with an
 * element that is too small to be seen and drawn in the same frame as the stimulus; elsewhere it is between the callback and the end of the
 * frame after.
 */
class Frames {
  /** @type {number[]} */
  #intervals = [];
  /** @type {Map<string, (entry: any) => void>} */
  #awaited = new Map();
  #number = 0;
  #measures = PerformanceObserver.supportedEntryTypes.includes("element");
  #observer = new PerformanceObserver((list) => {
    for (const entry of /** @type {any[]} */ (list.getEntries())) this.#awaited.get(entry.identifier)?.(entry);
  });

  constructor() {
    this.#measure(FRAMES_KEPT);
    if (this.#measures) this.#observer.observe({ type: "element" });
  }

  close() {
    this.#observer.disconnect();
  }

  /** Milliseconds between two frames. */
  get interval_ms() {
    if (!this.#intervals.length) return USUAL_FRAME_MS;
    return [...this.#intervals].sort((one, other) => one - other)[this.#intervals.length >> 1];
  }

  /** Time stamp of the next frame. @returns {Promise<number>} */
  static next() {
    return new Promise((resolve) => requestAnimationFrame(resolve));
  }

  /** @param {number} n */
  async #measure(n) {
    let last = await Frames.next();
    for (let i = 0; i < n; i += 1) {
      const now = await Frames.next();
      this.#note(now - last);
      last = now;
    }
  }

  /** @param {number} interval */
  #note(interval) {
    if (!(interval > 1)) return;
    this.#intervals.push(interval);
    if (this.#intervals.length > FRAMES_KEPT) this.#intervals.shift();
  }

  /** When the frame that is being made is shown, and how uncertain that is, ms. Call it in a requestAnimationFrame callback. */
  async presentation() {
    const made = Number(document.timeline.currentTime);
    const earliest = performance.now();
    const measured = this.#measures ? this.#observed() : null;
    const next = await Frames.next();
    this.#note(next - made);
    const entry = await measured;
    const time = entry?.presentationTime ?? entry?.renderTime;
    // it is reported when it is known, which a busy machine may delay; it was painted before it was shown
    if (time) return { time, uncertainty_ms: Math.max(0, time - (entry.paintTime ?? earliest)) + (crossOriginIsolated ? FINE_MS : COARSE_MS) };
    const late = Math.max(0, Math.round((next - made) / this.interval_ms) - 1);
    const latest = Math.max(earliest, made + (2 + late) * this.interval_ms);
    return { time: (earliest + latest) / 2, uncertainty_ms: (latest - earliest) / 2 };
  }

  /** Times of painting and presentation of the frame that is being made, as the browser reports them; null if it does not. @returns {Promise<any>} */
  #observed() {
    this.#number += 1;
    const name = `mindwire-${this.#number}`;
    const probe = document.createElement("span");
    probe.setAttribute("elementtiming", name);
    probe.ariaHidden = "true";
    probe.textContent = ".";
    Object.assign(probe.style, { position: "fixed", left: "0", bottom: "0", font: "1px sans-serif", color: "rgb(127 127 127 / 2%)", pointerEvents: "none" });
    (document.fullscreenElement ?? document.body).append(probe);
    return new Promise((resolve) => {
      this.#awaited.set(name, resolve);
      setTimeout(resolve, PRESENTED_WITHIN_MS, null);
    }).then((entry) => {
      this.#awaited.delete(name);
      probe.remove();
      return entry;
    });
  }
}

/** @typedef {{label: string, time: number, uncertainty_ms: number | null, id?: string}} Marker time in seconds of LSL's clock */

/** Markers to a stream: those of one page in their order, each sent until the service has taken it. */
export class Markers {
  #clock;
  #markers;
  #report;
  #headers;
  #frames = new Frames();
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
    const path = `/v1/streams/${encodeURIComponent(stream)}`;
    this.#clock = clock;
    this.#markers = addressOf(`${path}/markers`, url);
    this.#report = addressOf(`${path}/clock`, url);
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
    return this.#frames.interval_ms;
  }

  /**
   * Mark the stimulus that is drawn now. Call it in the requestAnimationFrame callback in which it is drawn; for what is not seen use `send`.
   * @param {string} label
   * @returns {Promise<Marker>}
   */
  async atPaint(label) {
    const { time, uncertainty_ms } = await this.#frames.presentation();
    return this.send(label, this.#clock.toLsl(time), this.#clock.uncertaintyAt(time) + uncertainty_ms);
  }

  /**
   * Send a marker with a time in seconds of LSL's clock; it waits in a queue until the service has taken it.
   * @param {string} label
   * @param {number} time
   * @param {number | null} [uncertainty_ms]
   * @returns {Marker}
   */
  send(label, time, uncertainty_ms = null) {
    if (!Number.isFinite(time)) throw new Error(`The clock is not synchronised yet, so marker ${label} has no time; wait for clock.state.synchronised.`);
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
    while (this.#sending && !(await Promise.race([this.#sending, over])));
    clearTimeout(timer);
    return this.#queue.length;
  }

  /** Measure frames and report the clock no more; what waits is still sent. */
  close() {
    clearInterval(this.#timer);
    this.#forget();
    this.#frames.close();
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
