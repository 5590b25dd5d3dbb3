// Filters, Fourier transform and the store of the signal, which need no page.

import assert from "node:assert/strict";
import { test } from "node:test";

const STATIC = new URL("../../service/mindwire/api/static/js/", import.meta.url);
const { Filter, passBand, transform } = await import(new URL("filters.js", STATIC));
const { SignalStore } = await import(new URL("signal_store.js", STATIC));

/** Root mean square of a sine of that frequency after the sections, relative to before. */
function gain(sections, hertz, sfreq) {
  const filter = new Filter(sections, 1), n = 8 * sfreq;
  const row = new Float32Array(1);
  let sum = 0;
  for (let i = 0; i < n; i += 1) {
    row[0] = Math.sin((2 * Math.PI * hertz * i) / sfreq);
    filter.row(row, row, 0);
    if (i >= n / 2) sum += row[0] * row[0];
  }
  return Math.sqrt((2 * sum) / (n / 2));
}

/** A block as the client gives it. */
const block = (time, rows) => ({ time, n_samples: rows.length, n_channels: rows[0].length, samples: new Float32Array(rows.flat()) });

test("a pass band keeps what is in it, and halves the power at its ends", () => {
  const band = passBand(8, 30, 125);
  assert.ok(Math.abs(gain(band, 16, 125) - 1) < 0.05);
  assert.ok(Math.abs(gain(band, 8, 125) - Math.SQRT1_2) < 0.03);
  assert.ok(gain(band, 1, 125) < 0.03);
  assert.ok(gain(band, 55, 125) < 0.15);
  assert.deepEqual(passBand(null, 60, 125), []); // more than the rate can show
});

test("a filter goes on after a value that is not a number", () => {
  const filter = new Filter(passBand(8, 30, 125), 1), row = new Float32Array([NaN]);
  filter.row(row, row, 0);
  assert.equal(row[0], 0);
});

test("the transform is that of the definition", () => {
  const n = 16, re = Float64Array.from({ length: n }, (_, i) => Math.sin(i) + (i % 3)), im = Float64Array.from({ length: n }, (_, i) => Math.cos(2 * i));
  const expected = Array.from({ length: n }, (_, k) => {
    let [a, b] = [0, 0];
    for (let i = 0; i < n; i += 1) {
      const angle = (-2 * Math.PI * k * i) / n;
      a += re[i] * Math.cos(angle) - im[i] * Math.sin(angle);
      b += re[i] * Math.sin(angle) + im[i] * Math.cos(angle);
    }
    return [a, b];
  });
  transform(re, im);
  expected.forEach(([a, b], k) => assert.ok(Math.abs(re[k] - a) < 1e-9 && Math.abs(im[k] - b) < 1e-9, `${k}`));
});

test("the store keeps the newest seconds, and knows gaps", () => {
  const store = new SignalStore();
  store.begin({ type: "hello", channels: ["C3", "C4"], unit: "uV", sfreq: 100, positions: [null, null] });
  assert.equal(store.add(block(1, [[1, 2], [3, 4]])), 2);
  assert.equal(store.add(block(5, [[5, 6]])), 1); // after a gap
  assert.equal(store.add(block(6, [[1, 2, 3]])), 0); // of other channels
  assert.deepEqual([...store.values.subarray(0, 6)], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([0, 1, 2].map((row) => store.breaks(row)), [true, false, true]);
  assert.deepEqual([store.newest, store.rowAt(1.005), store.rowAt(9)], [5, 1, 3]);
  for (let i = 0; i < 3000; i += 1) store.add(block(6 + i / 100, [[i, -i]]));
  assert.equal(store.written - store.first, store.capacity);
  assert.ok(Math.abs(store.newest - (6 + 29.99)) < 1e-9);
});
