// When a frame that is being made is on the screen.

const FRAMES_KEPT = 61;
const USUAL_FRAME_MS = 1000 / 60;
// How a browser rounds the presentation of a frame: to 4 ms for pages that are not isolated from others.
const FINE_MS = 0.2;
const COARSE_MS = 4;
const PRESENTED_WITHIN_MS = 500;

/**
 * When frames are on the screen. Where the browser reports it (Element Timing: Chromium) the time of presentation is measured, with an
 * element that is too small to be seen and drawn in the same frame as the stimulus; elsewhere it is between the callback and the end of the
 * frame after.
 */
export class Frames {
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
