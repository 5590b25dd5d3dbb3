// Canvas plots that follow the size of their box, the density of the screen and the colours of the theme.

/** @type {Set<Plot>} */
const plots = new Set();
const probe = document.documentElement.appendChild(document.createElement("i"));
/** @type {Map<string, string>} */
let colours = new Map();
probe.hidden = true;

function forgetColours() {
  colours = new Map();
  for (const plot of plots) plot.touch();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forgetColours);
document.addEventListener("themechange", forgetColours);

/**
 * A colour of the style sheet by the name of its variable, as it is in the present theme.
 * @param {string} name
 */
export function colour(name) {
  let found = colours.get(name);
  if (found === undefined) {
    probe.style.color = `var(--${name})`;
    found = getComputedStyle(probe).color;
    colours.set(name, found);
  }
  return found;
}

/** @param {number} index of a class */
export const classColour = (index) => colour(`class-${index % 6}`);

/** @typedef {(context: CanvasRenderingContext2D, width: number, height: number, now: number) => void} Draw */

/** A canvas that is drawn at most once per frame, and only when something has changed. */
export class Plot {
  #canvas;
  #context;
  #draw;
  #size = [0, 0]; // of the box, in CSS pixels; asked for by no frame, so that none waits for a layout
  #dirty = true;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Draw} draw
   */
  constructor(canvas, draw) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.#draw = draw;
    plots.add(this);
    new ResizeObserver(() => {
      this.#size = [canvas.clientWidth, canvas.clientHeight];
      this.touch();
    }).observe(canvas);
  }

  touch() {
    this.#dirty = true;
  }

  /** @param {number} now */
  frame(now) {
    const [width, height] = this.#size;
    if (!this.#dirty || width === 0 || height === 0) return;
    this.#dirty = false;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const pixels = [Math.round(width * density), Math.round(height * density)];
    if (this.#canvas.width !== pixels[0] || this.#canvas.height !== pixels[1]) [this.#canvas.width, this.#canvas.height] = pixels;
    const context = this.#context;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    this.#draw(context, width, height, now);
  }
}

/** @param {number} now */
export function frames(now) {
  for (const plot of plots) plot.frame(now);
}

/**
 * Right of its line, or left of it where the plot ends, on a ground of its own so that it is read on any trace.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} at
 * @param {number} right
 * @param {number} top
 */
export function markerLabel(context, text, at, right, top) {
  const size = context.measureText(text).width;
  const begin = at + 5 + size <= right ? at + 5 : at - 5 - size;
  const ink = context.fillStyle;
  context.textAlign = "left";
  context.globalAlpha = 0.85;
  context.fillStyle = colour("card");
  context.fillRect(begin - 3, top, size + 6, 16);
  context.globalAlpha = 1;
  context.fillStyle = ink;
  context.fillText(text, begin, top + 2);
}

/** A clock that follows a remote one by the times in its messages, so that plots glide instead of jumping. */
export class RemoteClock {
  /** @type {number | null} */
  #offset = null;

  /**
   * @param {number} remoteSeconds
   * @param {number} localMs
   */
  observe(remoteSeconds, localMs) {
    const offset = remoteSeconds - localMs / 1000;
    // the largest offset belongs to the message that was delayed least; leak slowly to follow drift
    if (this.#offset === null || Math.abs(offset - this.#offset) > 2) this.#offset = offset;
    else this.#offset = Math.max(offset, this.#offset - 0.0005);
  }

  /** @param {number} localMs */
  now(localMs) {
    return this.#offset === null ? null : this.#offset + localMs / 1000;
  }
}
