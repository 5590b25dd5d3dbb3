// The strip's tiles: what a sweep draws over, and which marks are in it.

import assert from "node:assert/strict";
import { test } from "node:test";

class Context {
  drawn = [];
  setTransform() {}
  clearRect() {
    this.drawn = [];
  }
  stroke(path) {
    this.drawn.push(path.sweep);
  }
}

class Element {
  style = {};
  children = [];
  hidden = false;
  #context = new Context();
  constructor(tag) {
    this.tag = tag;
  }
  append(...nodes) {
    for (const node of nodes) node.parent = this;
    this.children.push(...nodes);
  }
  prepend(...nodes) {
    for (const node of nodes) node.parent = this;
    this.children.unshift(...nodes);
  }
  remove() {
    this.parent.children = this.parent.children.filter((node) => node !== this);
  }
  setAttribute(name, value) {
    if (name === "hidden") this.hidden = value !== null;
  }
  getContext() {
    return this.#context;
  }
}

let sweep = "";
Object.assign(globalThis, {
  document: { createElement: (/** @type {string} */ tag) => new Element(tag) },
  Path2D: class {
    sweep = sweep;
    moveTo() {}
    lineTo() {}
  },
});
const { TraceTiles } = await import("../../service/mindwire/api/static/js/trace_tiles.js");
const { SignalStore } = await import("../../service/mindwire/api/static/js/signal_store.js");

const SFREQ = 125, SPAN = 10, WIDTH = 640; // a tile is a second

function strip() {
  const store = new SignalStore(), box = new Element("div"), tiles = new TraceTiles(box);
  store.begin({ channels: ["C3"], unit: "uV", sfreq: SFREQ, positions: [null] });
  tiles.reset(WIDTH, 100, 1, SPAN, 1000, { top: 0, row: 50, gain: 1, ink: "" });
  let drawn = 0;
  return {
    tiles,
    feed(from, to, name) {
      sweep = name;
      for (let time = from; time < to - 1e-9; time += 5 / SFREQ) {
        store.add({ time, n_samples: 5, n_channels: 1, samples: new Float32Array(5) });
        tiles.add(store, store.values, Math.max(drawn, store.first), store.written);
        drawn = store.written;
      }
      tiles.show(store.newest);
    },
    get sweeps() {
      return box.children.filter(({ tag }) => tag === "canvas").map((canvas) => [...new Set(canvas.getContext().drawn)].join());
    },
    get marks() {
      return box.children.filter((node) => node.tag === "span" && node.children.length && !node.hidden).length;
    },
  };
}

test("a gap shows nothing of the sweep before", () => {
  const one = strip();
  one.feed(1000, 1010, "first");
  one.feed(1010, 1012, "second");
  one.feed(1017, 1018, "third");
  assert.ok(one.sweeps.slice(2, 7).every((names) => !names.includes("first")), one.sweeps.join(" | "));
  assert.ok(one.sweeps[9].includes("first"));
});

test("the marks of the last span are shown, in whatever order they come, and no later ones", () => {
  const one = strip();
  one.feed(1000, 1005, "");
  one.tiles.mark(1050, "ahead");
  for (let time = 1001; time < 1005; time += 1) one.tiles.mark(time, "cue");
  one.tiles.show(1004.5);
  assert.equal(one.marks, 4);
  for (let time = 1005; time < 1030; time += 1) one.tiles.mark(time, "while it is paused");
  one.tiles.show(1004.5);
  assert.equal(one.marks, 4);
  one.tiles.show(1013.5);
  assert.equal(one.marks, 10);
});

test("of more marks than are kept those in view stay", () => {
  const one = strip();
  one.feed(1000, 1005, "");
  for (let time = 1001; time < 1005; time += 1) one.tiles.mark(time, "cue");
  one.tiles.show(1004.9);
  for (let n = 0; n < 300; n += 1) one.tiles.mark(1020 + n, "while it is paused");
  one.tiles.show(1004.9);
  assert.equal(one.marks, 4);
});
