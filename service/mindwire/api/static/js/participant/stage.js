// What the person sees during a trial, on a canvas that fills the window: large, few colours, no sudden changes but the cue's.

import { Plot, classColour, colour } from "../canvas.js";
import { BORDER, directionsOf } from "./board.js";
import { COUNTDOWN_S } from "./steps.js";

/**
 * @typedef {import("./steps.js").Paradigm} Paradigm
 * @typedef {{phase: import("./steps.js").Phase | "none", label?: string, elapsed: number, shown?: number[], feedback?: "none" | "bar" | "cursor",
 *   board?: import("./board.js").Board, right?: boolean | null, answer?: string | null}} Scene
 *   ``elapsed`` in seconds since the step began; ``right`` is the result of the trial, ``answer`` the class that was recognised.
 */

const ARM = 0.3; // longest bar, of the shorter side of the window

export class Stage {
  /** @type {Scene} */
  #scene = { phase: "none", elapsed: 0 };
  /** @type {string[]} */
  #classes = [];
  /** @type {Map<string, [number, number]>} */
  #directions = new Map();
  #plot;
  /** @type {(label: string) => string} */
  #name;

  /** @param {HTMLCanvasElement} canvas @param {(label: string) => string} name the word for a class */
  constructor(canvas, name) {
    this.#name = name;
    this.#plot = new Plot(canvas, (context, width, height) => this.#draw(context, width, height));
  }

  /** @param {string[]} classes in the order that gives them their colours @param {import("./board.js").Moves} [moves] */
  use(classes, moves) {
    this.#classes = classes;
    this.#directions = directionsOf(classes, moves);
  }

  /** Draw a scene in this frame. @param {Scene} scene @param {number} now milliseconds */
  show(scene, now) {
    this.#scene = scene;
    this.#plot.touch();
    this.#plot.frame(now);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} width @param {number} height */
  #draw(context, width, height) {
    const size = Math.min(width, height);
    context.translate(width / 2, height / 2);
    context.lineCap = "round";
    context.lineJoin = "round";
    const scene = this.#scene;
    switch (scene.phase) {
      case "countdown":
        return digits(context, size, String(Math.max(1, Math.ceil(COUNTDOWN_S - scene.elapsed))));
      case "fixation":
      case "rest":
        return cross(context, size);
      case "eyes":
        return scene.label === "open" ? cross(context, size) : undefined;
      case "cue":
        return this.#arrow(context, size, scene.label ?? "");
      case "imagery":
        return this.#imagery(context, size, scene);
      case "result":
        return this.#result(context, size, scene);
      case "attempt":
      case "outcome":
        return this.#board(context, size, scene);
      default:
        return undefined;
    }
  }

  /** @param {string} label */
  #colour(label) {
    return classColour(Math.max(0, this.#classes.indexOf(label)));
  }

  /** @param {CanvasRenderingContext2D} context @param {number} size @param {string} label */
  #arrow(context, size, label) {
    const [x, y] = this.#directions.get(label) ?? [0, 1];
    context.save();
    context.rotate(Math.atan2(-y, x));
    context.fillStyle = this.#colour(label);
    const length = 0.24 * size, stem = 0.05 * size, head = 0.13 * size;
    context.beginPath();
    for (const [px, py] of [[-length, -stem], [length - head, -stem], [length - head, -head], [length + head / 2, 0], [length - head, head], [length - head, stem], [-length, stem]]) {
      context.lineTo(px, py);
    }
    context.closePath();
    context.fill();
    context.restore();
  }

  /** @param {CanvasRenderingContext2D} context @param {number} size @param {Scene} scene */
  #imagery(context, size, { feedback, shown, label }) {
    const known = (shown ?? []).filter((p) => p > 0).length;
    if (shown && known > 1) {
      const strength = (/** @type {number} */ p) => Math.max(0, (p - 1 / known) / (1 - 1 / known));
      if (feedback === "bar") this.#classes.forEach((one, at) => this.#bar(context, size, one, strength(shown[at]), one === label));
      if (feedback === "cursor") this.#cursor(context, size, shown, label ?? "");
    }
    cross(context, size, feedback === "cursor" ? "faint" : "text");
  }

  /** A track of full length in a class's direction, filled as far as its probability is above chance.
   * @param {CanvasRenderingContext2D} context @param {number} size @param {string} label @param {number} strength 0 to 1 @param {boolean} wanted */
  #bar(context, size, label, strength, wanted) {
    const [x, y] = this.#directions.get(label) ?? [0, 1];
    context.save();
    context.rotate(Math.atan2(-y, x));
    const begin = 0.09 * size, length = ARM * size, half = 0.045 * size;
    context.fillStyle = colour("track");
    context.fillRect(begin, -half, length, 2 * half);
    context.fillStyle = this.#colour(label);
    context.fillRect(begin, -half, length * strength, 2 * half);
    if (wanted) {
      context.strokeStyle = this.#colour(label);
      context.lineWidth = 0.008 * size;
      context.strokeRect(begin, -half, length, 2 * half);
    }
    context.restore();
  }

  /** A ball at the mean direction of the classes, and the goal it is to reach.
   * @param {CanvasRenderingContext2D} context @param {number} size @param {number[]} shown @param {string} label */
  #cursor(context, size, shown, label) {
    const mean = [0, 0];
    this.#classes.forEach((one, at) => {
      const [x, y] = this.#directions.get(one) ?? [0, 0];
      mean[0] += shown[at] * x;
      mean[1] += shown[at] * y;
    });
    const [goalX, goalY] = this.#directions.get(label) ?? [0, 0];
    context.strokeStyle = this.#colour(label);
    context.lineWidth = 0.012 * size;
    circle(context, goalX * ARM * size, -goalY * ARM * size, 0.075 * size);
    context.stroke();
    context.fillStyle = colour("text");
    circle(context, mean[0] * ARM * size, -mean[1] * ARM * size, 0.045 * size);
    context.fill();
  }

  /** @param {CanvasRenderingContext2D} context @param {number} size @param {Scene} scene */
  #result(context, size, { right }) {
    if (right == null) return cross(context, size);
    mark(context, size * 0.16, right);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} size @param {Scene} scene */
  #board(context, size, { board, phase }) {
    if (!board) return;
    const step = (0.74 * size) / (2 * BORDER + 1);
    context.fillStyle = colour("faint");
    for (let x = -BORDER; x <= BORDER; x += 1) {
      for (let y = -BORDER; y <= BORDER; y += 1) {
        circle(context, x * step, y * step, 0.05 * step);
        context.fill();
      }
    }
    if (phase === "attempt") this.#names(context, size, step);
    const [targetX, targetY] = [board.target[0] * step, -board.target[1] * step];
    context.lineWidth = 0.1 * step;
    context.strokeStyle = context.fillStyle = colour(board.reached ? "good" : "accent");
    context.beginPath();
    context.roundRect(targetX - 0.42 * step, targetY - 0.42 * step, 0.84 * step, 0.84 * step, 0.16 * step);
    if (board.reached) context.fill();
    else context.stroke();
    context.fillStyle = colour(board.reached ? "card" : "text");
    circle(context, board.cursor[0] * step, -board.cursor[1] * step, 0.26 * step);
    if (!board.reached) {
      context.fill();
      return;
    }
    context.save();
    context.translate(targetX, targetY);
    mark(context, 0.24 * step, true, "card");
    context.restore();
  }

  /** The classes at the edges to which they move the cursor.
   * @param {CanvasRenderingContext2D} context @param {number} size @param {number} step */
  #names(context, size, step) {
    context.font = `600 ${Math.round(Math.max(16, 0.036 * size))}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const edge = (BORDER + 0.75) * step;
    for (const [label, [x, y]] of this.#directions) {
      context.fillStyle = this.#colour(label);
      context.textAlign = x === 0 ? "center" : x < 0 ? "right" : "left";
      const arrow = x < 0 ? "← " : x > 0 ? " →" : y > 0 ? "↑ " : "↓ ";
      const text = x > 0 ? this.#name(label) + arrow : arrow + this.#name(label);
      context.fillText(text, x * edge, -y * edge);
    }
  }
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius */
function circle(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

/** @param {CanvasRenderingContext2D} context @param {number} size @param {string} ink */
function cross(context, size, ink = "text") {
  const arm = 0.055 * size;
  context.strokeStyle = colour(ink);
  context.lineWidth = 0.018 * size;
  context.beginPath();
  context.moveTo(-arm, 0);
  context.lineTo(arm, 0);
  context.moveTo(0, -arm);
  context.lineTo(0, arm);
  context.stroke();
}

/** A tick or a cross: the shape tells them apart, not the colour alone.
 * @param {CanvasRenderingContext2D} context @param {number} size @param {boolean} right @param {string} [ink] */
function mark(context, size, right, ink) {
  context.strokeStyle = colour(ink ?? (right ? "good" : "bad"));
  context.lineWidth = 0.24 * size;
  context.beginPath();
  if (right) {
    context.moveTo(-0.8 * size, 0);
    context.lineTo(-0.2 * size, 0.6 * size);
    context.lineTo(0.9 * size, -0.7 * size);
  } else {
    context.moveTo(-0.6 * size, -0.6 * size);
    context.lineTo(0.6 * size, 0.6 * size);
    context.moveTo(0.6 * size, -0.6 * size);
    context.lineTo(-0.6 * size, 0.6 * size);
  }
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {number} size @param {string} text */
function digits(context, size, text) {
  context.fillStyle = colour("soft");
  context.font = `700 ${Math.round(0.3 * size)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, 0, 0);
}
