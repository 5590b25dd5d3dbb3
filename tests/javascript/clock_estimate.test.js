// The estimate of a clock in virtual time: half an hour in a moment, over a network with jitter, asymmetric delay and drift.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ClockEstimate } from "../../service/mindwire/api/static/client/clock_estimate.js";

/** Pseudo-random numbers in [0, 1), the same for the same seed (Mulberry32). @param {number} seed */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Round trips as `Clock` makes them, and after each the errors of the estimate now and 200 ms later.
 * @param {{minutes?: number, drift_ppm?: number, jitter_ms?: number, there_ms?: number, resolution_ms?: number, seed?: number, jump?: {minute: number, by_ms: number}}} options
 */
function simulate({ minutes = 30, drift_ppm = 0, jitter_ms = 0.2, there_ms = 0, resolution_ms = 0.1, seed = 1, jump } = {}) {
  const chance = random(seed);
  const estimate = new ClockEstimate(resolution_ms);
  const begin = 5000;
  const other = (/** @type {number} */ ms) => 1000 + (ms * (1 + drift_ppm * 1e-6)) / 1000 + (jump && ms - begin >= jump.minute * 60_000 ? jump.by_ms / 1000 : 0);
  const read = (/** @type {number} */ ms) => Math.floor(ms / resolution_ms) * resolution_ms;
  /** @type {number[]} */
  const errors = [];
  /** @type {[number, number][]} */
  const jumps = [];
  let covered = 0;
  let unseen = 0; // errors that are not covered before the jump is seen
  let least = Infinity; // uncertainty
  for (let ms = begin, trips = 0; ms < begin + minutes * 60_000; trips += 1) {
    const arrived = ms + 0.2 + there_ms + jitter_ms * chance();
    const back = arrived + 0.3 + jitter_ms * chance();
    const by = estimate.add({ sent: read(ms), received: other(arrived), answered: other(arrived + 0.1), returned: read(back) });
    if (by) jumps.push([(back - begin) / 60_000, by]);
    for (const at of estimate.synchronised ? [back, back + 200] : []) {
      const error = Math.abs(1000 * (estimate.toOther(at) - other(at)));
      errors.push(error);
      const uncertainty = estimate.uncertainty_ms(at);
      covered += Number(error <= uncertainty);
      unseen += Number(error > uncertainty && jump && at - begin >= jump.minute * 60_000 && !jumps.length);
      least = Math.min(least, uncertainty, estimate.uncertainty_ms(at - 700));
    }
    ms = back + (trips < 12 ? 50 : 400);
  }
  errors.sort((one, more) => one - more);
  return { estimate, jumps, least, covered: covered / errors.length, held: (covered + unseen) / errors.length, median: errors[errors.length >> 1], p99: errors[Math.floor(0.99 * errors.length)] };
}

for (const seed of [1, 2, 3]) {
  for (const drift_ppm of [100, -100, 0]) {
    test(`half an hour with ${drift_ppm} ppm, 20 ms of jitter and 10 ms of asymmetric delay, seed ${seed}`, () => {
      const { estimate, jumps, covered, median, p99 } = simulate({ drift_ppm, jitter_ms: 20, there_ms: 10, seed });
      assert.ok(median < 5.3, `median ${median}: half of the asymmetry cannot be seen, and little more is left`);
      assert.ok(p99 < 7, `p99 ${p99}`);
      assert.ok(covered > 0.999, `covered ${covered}`);
      assert.ok(Math.abs(estimate.drift_ppm - drift_ppm) < 1, `drift ${estimate.drift_ppm}`);
      assert.ok(estimate.uncertainty_ms(5000 + 30 * 60_000) < 7);
      assert.deepEqual(jumps, []);
    });
  }
}

test("on one machine it is exact to less than half a millisecond", () => {
  const { p99, covered } = simulate();
  assert.ok(p99 < 0.5, `p99 ${p99}`);
  assert.equal(covered, 1);
});

test("a browser's clock of one millisecond is part of the uncertainty", () => {
  assert.equal(simulate({ resolution_ms: 1 }).covered, 1);
});

test("a minute is enough for a first estimate", () => {
  const { p99, covered } = simulate({ minutes: 1, drift_ppm: 100, jitter_ms: 20, there_ms: 10 });
  assert.ok(p99 < 8, `p99 ${p99}`);
  assert.ok(covered > 0.99, `covered ${covered}`);
});

for (const by_ms of [500, -30, 12]) {
  test(`a jump of ${by_ms} ms is seen at once, whatever the network`, () => {
    const { jumps, covered } = simulate({ drift_ppm: 50, jitter_ms: 4, there_ms: 1, jump: { minute: 10, by_ms } });
    assert.equal(jumps.length, 1);
    assert.ok(jumps[0][0] > 10 && jumps[0][0] < 10.1, `after ${jumps[0][0]} minutes`);
    assert.ok(Math.abs(jumps[0][1] - by_ms) < 1, `by ${jumps[0][1]}`);
    assert.ok(covered > 0.999, `covered ${covered}`);
  });
}

test("a jump smaller than the round trip is seen by what both directions show together", () => {
  const { jumps, covered } = simulate({ drift_ppm: 100, jitter_ms: 20, there_ms: 10, jump: { minute: 10, by_ms: 5 } });
  assert.equal(jumps.length, 1);
  assert.ok(jumps[0][0] < 10.6, `after ${jumps[0][0]} minutes`);
  assert.ok(Math.abs(jumps[0][1] - 5) < 2, `by ${jumps[0][1]}`);
  assert.ok(covered > 0.99, `covered ${covered}`);
});

// A jump that is seen at once is known to half of the round trip that showed it.
for (const [jitter_ms, there_ms, smallest_ms, within_ms] of [[4, 1, 3, 1.5], [20, 10, 5, 8]]) {
  test(`the uncertainty holds once a jump is seen, with ${jitter_ms} ms of jitter`, () => {
    for (const by_ms of [-20, -15, -12, -8, -smallest_ms, smallest_ms, 8, 12, 15, 20]) {
      for (const seed of [1, 2, 3, 4, 5]) {
        const { jumps, held, least } = simulate({ minutes: 14, drift_ppm: 100, jitter_ms, there_ms, seed, jump: { minute: 4 + seed * 0.017, by_ms } });
        const what = `${by_ms} ms, seed ${seed}: held ${held}, least ${least}, ${jumps}`;
        assert.equal(jumps.length, 1, what);
        assert.ok(jumps[0][0] < 5, what);
        assert.ok(Math.abs(jumps[0][1] - by_ms) < within_ms, what);
        assert.equal(Math.sign(jumps[0][1]), Math.sign(by_ms), what);
        assert.ok(held === 1, what);
        assert.ok(least > 0, what);
      }
    }
  });
}

test("the uncertainty holds from the first minutes on, and jitter is no jump", () => {
  for (const jitter_ms of [0.2, 4, 20, 40]) {
    for (let seed = 1; seed <= 15; seed += 1) {
      const { jumps, covered } = simulate({ minutes: 6, drift_ppm: [60, -90, 0][seed % 3], jitter_ms, seed });
      assert.ok(covered > 0.9999, `jitter ${jitter_ms}, seed ${seed}: covered ${covered}`);
      assert.deepEqual(jumps, []);
    }
  }
});

test("times map there and back, and nothing is claimed before there is a round trip", () => {
  const { estimate } = simulate({ minutes: 2, drift_ppm: 80 });
  assert.ok(Math.abs(estimate.toOwn(estimate.toOther(90_000)) - 90_000) < 1e-6);
  const none = new ClockEstimate();
  assert.ok(Number.isNaN(none.toOther(1)));
  assert.equal(none.uncertainty_ms(1), Infinity);
  assert.equal(none.synchronised, false);
  assert.equal(none.add({ sent: 10, received: 1, answered: 2, returned: 11 }), 0); // answered longer than it took
  assert.equal(none.samples, 0);
});
