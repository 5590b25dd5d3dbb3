// Canvas plots that follow the size of their box, the density of the screen and the colours of the theme.

const plots = new Set();
const probe = document.documentElement.appendChild(document.createElement("i"));
let colours = new Map();
probe.hidden = true;

function forgetColours() {
  colours = new Map();
  for (const plot of plots) plot.touch();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forgetColours);
document.addEventListener("themechange", forgetColours);

/** A colour of the style sheet by the name of its variable, as it is in the present theme. */
export function colour(name) {
  if (!colours.has(name)) {
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

export const classColour = (index) => colour(`class-${index % 6}`);

/** Draws at most once per frame, and only when something has changed. */
export class Plot {
  #canvas;
  #draw;
  #dirty = true;

  constructor(canvas, draw) {
    this.#canvas = canvas;
    this.#draw = draw;
    plots.add(this);
    new ResizeObserver(() => this.touch()).observe(canvas.parentElement);
  }

  touch() {
    this.#dirty = true;
  }

  frame(now) {
    if (!this.#dirty) return;
    this.#dirty = false;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0 || height === 0) return;
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const pixels = [Math.round(width * density), Math.round(height * density)];
    if (this.#canvas.width !== pixels[0] || this.#canvas.height !== pixels[1]) [this.#canvas.width, this.#canvas.height] = pixels;
    const context = this.#canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    this.#draw(context, width, height, now);
  }
}

export function frames(now) {
  for (const plot of plots) plot.frame(now);
}

/** Right of its line, or left of it where the plot ends, on a ground of its own so that it is read on any trace. */
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

/** Follows a remote clock from the times in its messages, so that plots glide instead of jumping. */
export class RemoteClock {
  #offset = null;

  hear(remoteSeconds, localMs) {
    const offset = remoteSeconds - localMs / 1000;
    // the largest offset belongs to the message that was delayed least; leak slowly to follow drift
    if (this.#offset === null || Math.abs(offset - this.#offset) > 2) this.#offset = offset;
    else this.#offset = Math.max(offset, this.#offset - 0.0005);
  }

  now(localMs) {
    return this.#offset === null ? null : this.#offset + localMs / 1000;
  }
}
