// Markers and clock of a page, with a service that answers as a test says, in virtual time.

import assert from "node:assert/strict";
import { test } from "node:test";

Object.assign(globalThis, { requestAnimationFrame: () => 0 });
const { Clock, Markers } = await import("../../service/mindwire/api/static/client.js");

const URL_OF_SERVICE = "http://127.0.0.1:1/";
const settled = async () => {
  for (let turn = 0; turn < 50; turn += 1) await null;
};

/** Markers to a service that answers a request as ``answer`` says, with a list of what arrived. */
function markersTo(t, answer) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const arrived = [];
  t.mock.method(globalThis, "fetch", async (address, { body }) => {
    const labels = (JSON.parse(body).markers ?? []).map(({ label }) => label);
    arrived.push(labels);
    const status = answer(labels);
    return { ok: status < 300, status, json: async () => ({ detail: "a sentence" }) };
  });
  const clock = new Clock({ url: URL_OF_SERVICE });
  const markers = new Markers(clock, { stream: "chair", url: URL_OF_SERVICE });
  const refused = [];
  markers.onrefused = (why, all) => refused.push(...all.map(({ label }) => label));
  return { clock, markers, arrived, refused };
}

test("of markers that are sent together only the bad one is refused", async (t) => {
  const { markers, arrived, refused } = markersTo(t, (labels) => (labels.includes("bad") ? 422 : 202));
  for (const label of ["first", "good", "bad", "fine"]) markers.send(label, 1);
  assert.equal(await markers.flush(), 0);
  assert.deepEqual(arrived, [["first"], ["good", "bad", "fine"], ["good"], ["bad"], ["fine"]]);
  assert.deepEqual(refused, ["bad"]);
});

test("a token that does not suffice refuses all of them at once", async (t) => {
  const { markers, arrived, refused } = markersTo(t, () => 403);
  for (const label of ["first", "second", "third"]) markers.send(label, 1);
  await markers.flush();
  assert.deepEqual(arrived, [["first"], ["second", "third"]]);
  assert.deepEqual(refused, ["first", "second", "third"]);
});

test("flush ends after its time, and says how many markers wait", async (t) => {
  const { markers } = markersTo(t, () => 409);
  markers.send("one", 1);
  markers.send("two", 1);
  const flushed = markers.flush(10_000);
  for (let second = 0; second < 10; second += 1) {
    await settled();
    t.mock.timers.tick(1000);
  }
  assert.equal(await flushed, 2);
});

test("the queue has a bound", (t) => {
  const { markers, refused } = markersTo(t, () => 409);
  for (let n = 0; n < 10_000; n += 1) markers.send("kept", 1);
  assert.deepEqual(refused, []);
  markers.send("late", 1);
  assert.deepEqual(refused, ["late"]);
  assert.equal(markers.waiting, 10_000);
});

/** Connections of a clock whose answers a test gives. */
class Connection {
  static OPEN = 1;
  static all = [];
  readyState = 1;
  sent = [];

  constructor() {
    Connection.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {}

  answer(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  /** Answer the newest question with a clock that is ahead by so much. @param {number} ahead_s */
  tell(ahead_s) {
    const { id, sent } = this.sent.at(-1);
    const at = sent / 1000 + ahead_s;
    this.answer({ type: "clock", id, sent, received: at, answered: at });
  }
}

function connectedClock(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  Object.assign(globalThis, { WebSocket: Connection });
  Connection.all = [];
  const clock = new Clock({ url: URL_OF_SERVICE });
  clock.start();
  Connection.all[0].answer({ type: "hello" });
  return clock;
}

test("a clock whose question is never answered connects again", (t) => {
  const clock = connectedClock(t);
  Connection.all[0].tell(100);
  t.mock.timers.tick(50);
  assert.equal(Connection.all[0].sent.length, 2);
  t.mock.timers.tick(10_000);
  t.mock.timers.tick(500);
  assert.equal(Connection.all.length, 2);
  Connection.all[1].answer({ type: "hello" });
  Connection.all[0].tell(100); // too late: another connection counts
  assert.equal(clock.state.samples, 1);
  Connection.all[1].tell(100);
  assert.equal(clock.state.samples, 2);
  clock.stop();
});

test("a clock asks nothing on a connection that is closing", (t) => {
  const clock = connectedClock(t);
  const [first] = Connection.all;
  first.tell(100);
  first.readyState = 2; // a browser would warn
  t.mock.timers.tick(50);
  assert.equal(first.sent.length, 1);
  first.onclose({ code: 1012, reason: "" });
  t.mock.timers.tick(500);
  Connection.all[1].answer({ type: "hello" });
  assert.equal(Connection.all[1].sent.length, 1);
  clock.stop();
});

test("markers that are closed hear of no jump", (t) => {
  const clock = connectedClock(t);
  const fetched = t.mock.method(globalThis, "fetch", async () => ({ ok: true }));
  const closed = new Markers(clock, { stream: "closed", url: URL_OF_SERVICE });
  new Markers(clock, { stream: "open", url: URL_OF_SERVICE });
  closed.close();
  const jumps = [];
  const end = clock.onjump((by) => jumps.push(by));
  const trips = (ahead) => {
    for (let n = 0; n < 12; n += 1) {
      Connection.all[0].tell(ahead);
      t.mock.timers.tick(400);
    }
  };
  trips(100);
  trips(200);
  assert.equal(jumps.length, 1);
  end();
  trips(300);
  assert.equal(jumps.length, 1);
  const streams = new Set(fetched.mock.calls.map(({ arguments: [address] }) => address.pathname.split("/")[3]));
  assert.deepEqual([...streams], ["open"]);
  clock.stop();
});
