// Stop and its end, with a service that answers as a test says, in virtual time; and trials whose markers cannot be sent.

import assert from "node:assert/strict";
import { test } from "node:test";

Object.assign(globalThis, { sessionStorage: { getItem: () => null } });
const { Player } = await import("../../service/mindwire/api/static/js/participant/player.js");
const { Stop } = await import("../../service/mindwire/api/static/js/participant/stop.js");

const settled = async () => {
  for (let turn = 0; turn < 50; turn += 1) await null;
};

/** A Stop whose requests are answered with a status each, the last one for ever. */
function stopWith(t, ...statuses) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = [];
  t.mock.method(globalThis, "fetch", async (path) => {
    asked.push(path.split("/").at(-1));
    const status = statuses.length > 1 ? statuses.shift() : statuses[0];
    if (status === 0) throw new TypeError("unreachable");
    return { ok: status < 300, status, json: async () => ({ detail: `says ${status}` }) };
  });
  const happened = [];
  const stop = new Stop("/v1/streams/chair", { pause: async () => happened.push("pause"), halt: () => happened.push("halt"), show: () => {} });
  return { stop, asked, happened };
}

test("stop halts at once and pauses decisions, where there are any, and the task", async (t) => {
  for (const status of [204, 409]) {
    const { stop, asked, happened } = stopWith(t, status);
    stop.now();
    assert.deepEqual(happened, ["halt", "pause"]);
    await settled();
    assert.deepEqual([stop.active, stop.problem, asked], [true, "", ["pause"]]);
    assert.equal(await stop.end(true), true);
    assert.deepEqual([stop.active, asked], [false, ["pause", "resume"]]);
    t.mock.reset();
    t.mock.timers.reset();
  }
});

test("a refusal of the pause is said, and is not taken for a stream without a policy", async (t) => {
  const { stop } = stopWith(t, 403);
  stop.now();
  await settled();
  assert.equal(stop.problem, "says 403");
});

test("the pause is sent until it arrives, and no more once the person goes on", async (t) => {
  const { stop, asked } = stopWith(t, 0, 503, 204, 204, 0, 204);
  stop.now();
  for (let second = 0; second < 3; second += 1) {
    await settled();
    t.mock.timers.tick(1000);
  }
  assert.deepEqual(asked, ["pause", "pause", "pause"]);
  await stop.end(false);
  stop.now();
  await settled();
  const ended = stop.end(false);
  t.mock.timers.tick(1000);
  assert.equal(await ended, true);
  assert.equal(asked.at(-1), "resume");
});

test("a second wish to go on changes nothing, a stop meanwhile does", async (t) => {
  const { stop, asked } = stopWith(t, 204);
  stop.now();
  assert.deepEqual(await Promise.all([stop.end(false), stop.end(false)]), [true, false]);
  assert.equal(stop.active, false);
  stop.now();
  const ended = stop.end(false);
  stop.now();
  assert.equal(await ended, false);
  await settled();
  assert.equal(stop.active, true);
  assert.equal(asked.at(-1), "pause");
});

test("a trial whose markers cannot be sent is reported all the same", async () => {
  const ended = [];
  const nothing = () => {};
  const player = new Player({
    stage: { show: nothing },
    sound: { play: nothing },
    mark: async () => { throw new Error("no clock"); },
    send: nothing,
    caption: nothing,
    ended: (trial) => ended.push(trial),
  });
  player.use({ kind: "rest", name: "rest", duration_s: 1 }, null);
  player.begin({ index: 4, label: "rest_start" }, false);
  for (let ms = 0; ms < 5000 && player.busy; ms += 100) player.frame(ms);
  await settled();
  assert.deepEqual(ended, [{ index: 4, outcome: "done", onset: null, result: null }]);
});
