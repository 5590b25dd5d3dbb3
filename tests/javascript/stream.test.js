// The client's stream with connections whose messages a test gives, in virtual time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAddress } from "../../service/mindwire/api/static/client/address.js";
import {
  ConnectionTimeoutError,
  ProtocolError,
  RefusedError,
  Signal,
  Stream,
  TokenError,
  UnknownStreamError,
  UnreachableError,
  connect,
} from "../../service/mindwire/api/static/client.js";

const HELLO = { type: "hello", version: 1, stream: "eeg", instance: "a", classes: ["feet", "left_hand"], model: { name: "m" } };

/** Connections of the client; a test answers for the service. */
class Socket {
  static all = [];
  closed = false;

  constructor(address) {
    this.address = String(address);
    Socket.all.push(this);
  }

  static get newest() {
    return Socket.all.at(-1);
  }

  close() {
    this.closed = true;
  }

  tell(...messages) {
    for (const message of messages) this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }

  end(code, reason = "") {
    this.onclose({ code, reason });
  }
}

const prediction = (seq, others = {}) => ({ type: "prediction", seq, time: 5, unix_time: 0, probabilities: [0.25, 0.75], valid: true, reasons: [], ...others });
const predictions = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => prediction(first + n));
const settled = async () => {
  for (let turn = 0; turn < 50; turn += 1) await null;
};
const queued = (iterator) => {
  const found = [];
  for (let message = iterator.poll(); message; message = iterator.poll()) found.push(message);
  return found;
};
const short = ({ type, seq, count, after, before, dropped, reconnected, restarted, connected: there }) =>
  ({ prediction: seq, missed: [count, after, before, dropped, reconnected, restarted], connection: there })[type] ?? type;
const given = (iterator) => queued(iterator).map(short);

/** A stream that is connected, and virtual time. */
async function connected(t, options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  Socket.all = [];
  const opened = connect("127.0.0.1:1", { WebSocket: Socket, clock: false, ...options });
  opened.catch(() => {});
  Socket.newest.tell(HELLO);
  const stream = await opened;
  t.after(() => stream.close());
  return stream;
}

test("addresses are those of the Python client", () => {
  for (const [url, base, stream, token] of [
    ["ws://127.0.0.1:8000/ws", "http://127.0.0.1:8000", null, null],
    ["127.0.0.1:8000", "http://127.0.0.1:8000", null, null],
    ["localhost:8000", "http://localhost:8000", null, null],
    ["wss://lab.example/eeg/ws?token=a%20b", "https://lab.example/eeg", null, "a b"],
    ["https://lab.example/v1/streams/cap%201/predictions", "https://lab.example", "cap 1", null],
  ]) {
    assert.deepEqual(parseAddress(url), { base, stream, token });
  }
  for (const url of ["ftp://127.0.0.1", "", "ws://"]) assert.throws(() => parseAddress(url), /Expected an address/);
});

test("what was skipped, dropped by the service or lost with a connection is counted by the numbers", async (t) => {
  const stream = await connected(t);
  const all = stream.messages();
  const notices = stream.notices();
  const missed = [];
  stream.on("missed", (notice) => missed.push(notice.count));
  Socket.newest.tell(prediction(7), prediction(8), prediction(11));
  assert.deepEqual(given(all), [7, 8, [2, 8, 11, 0, false, false], 11]);
  Socket.newest.end(1012);
  assert.equal(stream.connected, false);
  t.mock.timers.tick(500);
  Socket.newest.tell(HELLO, prediction(15));
  assert.deepEqual(given(all), [false, "hello", true, [3, 11, 15, 0, true, false], 15]);
  Socket.newest.end(1001);
  t.mock.timers.tick(500);
  Socket.newest.tell({ ...HELLO, instance: "b" }, prediction(20));
  assert.deepEqual(given(all), [false, "hello", true, [20, 15, 20, 0, true, true], 20]);
  Socket.newest.tell(prediction(0)); // of a worker that took the place of another
  assert.deepEqual(given(all), [[0, 20, 0, 0, false, true], 0]);
  assert.deepEqual(given(notices).filter(Array.isArray).map(([count]) => count), [2, 3, 20, 0]);
  assert.deepEqual([missed, stream.missed], [[2, 3, 20, 0], 25]);
});

test("a slow user misses predictions, which are counted, and no decision", async (t) => {
  const stream = await connected(t);
  const slow = stream.messages(["prediction", "decision", "missed"], { capacity: 4 });
  const plain = stream.predictions({ capacity: 4 });
  Socket.newest.tell(prediction(0));
  await slow.next();
  const decision = { type: "decision", seq: 1, time: 5, class: "feet", confidence: 1, evidence: [1, 0], age_ms: 2 };
  Socket.newest.tell(prediction(1), decision, ...predictions(2, 5), prediction(8), prediction(9));
  assert.deepEqual(given(slow), ["decision", [8, 0, 9, 6, false, false], 9]);
  assert.deepEqual([slow.dropped, slow.missed], [6, 8]);
  assert.deepEqual(given(plain), [4, 5, 8, 9]);
  assert.equal(plain.missed, 6);
  for (let n = 0; n < 6; n += 1) Socket.newest.tell({ ...decision, seq: 10 + n });
  assert.deepEqual(queued(slow).map(({ seq }) => seq), [12, 13, 14, 15]);
});

test("what is not wanted is not missed, and losses before it are", async (t) => {
  const stream = await connected(t);
  const valid = stream.predictions({ valid: true });
  const losses = stream.messages(["missed"]);
  Socket.newest.tell(prediction(0), prediction(1, { valid: false }), prediction(5, { valid: false }), prediction(6));
  assert.deepEqual(given(valid), [0, 6]);
  assert.equal(valid.missed, 3);
  assert.deepEqual(given(losses), [[3, 1, 5, 0, false, false]]);
});

test("events, axes and states go to those who want them, the newest state first", async (t) => {
  const stream = await connected(t);
  const state = (name) => ({ type: "event", kind: "state", stream: "eeg", message: "", unix_time: 0, data: { state: name } });
  Socket.newest.tell(state("live"), { ...state("live"), kind: "gap" }, { type: "axes", seq: 1, time: 5, values: { x: 0.5 } }, { type: "of a later version" });
  const [states, axes, events] = [stream.events("state"), stream.axes(), stream.events()];
  Socket.newest.tell(state("stale"), { ...state(""), kind: "gap" }, { type: "axes", seq: 2, time: 5, values: { x: -1 } });
  assert.deepEqual(queued(states).map(({ data }) => data.state), ["live", "stale"]);
  assert.deepEqual(queued(events).map(({ kind }) => kind), ["state", "state", "gap"]);
  assert.deepEqual(queued(axes).map(({ values }) => values), [{ x: -1 }]);
  assert.equal(stream.state, "stale");
  Socket.newest.end(1006);
  assert.equal(stream.state, "unknown");
});

test("several wait for one iterator, a loop that is left ends it, and the end of the stream ends the others", async (t) => {
  const stream = await connected(t);
  const [one, other] = [stream.predictions(), stream.predictions()];
  const waiting = Promise.all([one.next(), one.next()]);
  Socket.newest.tell(prediction(1), prediction(2), prediction(3));
  assert.deepEqual((await waiting).map(({ value }) => value.seq), [1, 2]);
  for await (const { seq } of one) {
    assert.equal(seq, 3);
    break;
  }
  assert.deepEqual(await one.next(), { done: true, value: undefined });
  await stream.close();
  assert.equal(await stream.ended, null);
  const rest = [];
  for await (const { seq } of other) rest.push(seq);
  assert.deepEqual(rest, [1, 2, 3]);
  assert.deepEqual(await stream.predictions().next(), { done: true, value: undefined });
});

test("pauses between attempts grow, and begin again after a connection", async (t) => {
  await connected(t);
  Socket.newest.end(1006);
  for (const pause of [500, 1000, 2000, 4000, 5000, 5000]) {
    const n = Socket.all.length;
    t.mock.timers.tick(pause - 1);
    assert.equal(Socket.all.length, n);
    t.mock.timers.tick(1);
    assert.equal(Socket.all.length, n + 1);
    if (pause === 1000) {
      Socket.newest.onerror(); // without a close event, as in Node 20
      t.mock.timers.tick(100);
    } else Socket.newest.end(1006);
  }
  t.mock.timers.tick(5000);
  Socket.newest.tell(HELLO);
  Socket.newest.end(4404, "the stream is gone for now");
  t.mock.timers.tick(500);
  Socket.newest.tell(HELLO);
  const n = Socket.all.length;
  t.mock.timers.tick(10_000); // this connection has its hello
  assert.equal(Socket.all.length, n);
  Socket.newest.end(1006);
  t.mock.timers.tick(500);
  assert.equal(Socket.all.length, n + 1);
  t.mock.timers.tick(10_000); // and this one never gets it
  t.mock.timers.tick(1000);
  assert.equal(Socket.all.length, n + 2);
  assert.ok(Socket.all.at(-2).closed);
});

test("what waiting would not mend is an error at once, and ends every iteration", async (t) => {
  for (const [code, expected, sentence, token] of [
    [4401, TokenError, "The token was not accepted", "a b"],
    [4401, TokenError, "The service needs a token"],
    [4404, UnknownStreamError, "a sentence", "a b"],
    [1008, ProtocolError, "a sentence", "a b"],
  ]) {
    const opened = connect("127.0.0.1:1", { WebSocket: Socket, clock: false, stream: "cap 1", token });
    assert.equal(Socket.newest.address, `ws://127.0.0.1:1/v1/streams/cap%201/predictions${token ? "?token=a+b" : ""}`);
    Socket.newest.end(code, "a sentence");
    await assert.rejects(opened, (error) => error instanceof expected && error.message.includes(sentence));
  }
  for (const message of ["no JSON", { type: "hello", version: 2, classes: [] }, { type: "prediction", seq: "7" }, {}]) {
    const opened = connect("127.0.0.1:1", { WebSocket: Socket, clock: false });
    Socket.newest.tell(message);
    await assert.rejects(opened, ProtocolError);
    assert.ok(Socket.newest.closed);
  }
  const stream = await connected(t);
  const iterator = stream.predictions();
  const waiting = iterator.next();
  Socket.newest.end(4401);
  await assert.rejects(waiting, TokenError);
  await assert.rejects(iterator.next(), TokenError);
  assert.throws(() => iterator.poll(), TokenError);
  await assert.rejects(stream.notices().next(), TokenError);
  assert.ok((await stream.ended) instanceof TokenError);
});

test("a stream that the service does not know yet is waited for, if that is wanted", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const opened = connect("127.0.0.1:1", { WebSocket: Socket, clock: false, timeout_ms: Infinity, wait: true, stream: "eeg" });
  Socket.newest.end(4404, "There is no stream eeg.");
  t.mock.timers.tick(500);
  Socket.newest.tell(HELLO);
  const stream = await opened;
  assert.ok(stream.connected);
  await stream.close();
  const late = connect("127.0.0.1:1", { WebSocket: Socket, clock: false, timeout_ms: 400, wait: true, stream: "eeg" });
  Socket.newest.end(4404, "There is no stream eeg.");
  t.mock.timers.tick(400);
  await assert.rejects(late, (error) => error instanceof ConnectionTimeoutError && error.message.includes("There is no stream eeg."));
});

test("a stream that is not waited for gives every message, and its attempts can be ended", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const stream = new Stream("127.0.0.1:1", { WebSocket: Socket, clock: false });
  const seen = [];
  for (const type of ["hello", "connection", "prediction"]) stream.on(type, ({ type: one }) => seen.push(one));
  assert.throws(() => stream.hello, /not open/);
  Socket.newest.tell(HELLO, prediction(1));
  assert.deepEqual(seen, ["hello", "connection", "prediction"]);
  Socket.newest.end(1006);
  await stream.close();
  const n = Socket.all.length;
  t.mock.timers.tick(60_000);
  assert.equal(Socket.all.length, n);
  assert.equal(await stream.ended, null);
});

test("the signal for display goes on over an interruption, and says why it ends", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const signal = new Signal({ url: "127.0.0.1:1", stream: "cap 1", token: "a b", WebSocket: Socket });
  const [seen, errors] = [[], []];
  signal.onhello = ({ channels }) => seen.push(channels);
  signal.onblock = ({ samples, ...block }) => seen.push({ ...block, samples: [...samples] });
  signal.onerror = (error) => errors.push(error);
  const hello = { type: "hello", version: 1, channels: ["C3", "C4"], unit: "uV", sfreq: 125, positions: [null, null] };
  const data = new ArrayBuffer(16 + 4 * 4);
  const head = new DataView(data);
  head.setFloat64(0, 7.5, true);
  head.setUint32(8, 2, true);
  head.setUint32(12, 2, true);
  new Float32Array(data, 16).set([1, 2, 3, 4]);
  signal.start();
  assert.equal(Socket.newest.address, "ws://127.0.0.1:1/v1/streams/cap%201/signal?token=a+b");
  Socket.newest.tell(hello);
  Socket.newest.onmessage({ data });
  Socket.newest.end(1012);
  t.mock.timers.tick(500);
  Socket.newest.tell(hello);
  assert.deepEqual(seen, [["C3", "C4"], { time: 7.5, n_samples: 2, n_channels: 2, samples: [1, 2, 3, 4] }, ["C3", "C4"]]);
  Socket.newest.end(4401);
  assert.ok(errors[0] instanceof TokenError);
  signal.start();
  signal.stop();
  assert.ok(Socket.newest.closed);
  assert.equal(errors.length, 1);
});

test("a service that is not there is one sentence after the time limit", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const opened = connect("127.0.0.1:1", { WebSocket: Socket, clock: false, timeout_ms: 3000 });
  Socket.newest.end(1006);
  t.mock.timers.tick(3000);
  await assert.rejects(opened, (error) => error instanceof ConnectionTimeoutError && error.message.includes("within 3000 ms (There is no connection (code 1006).)"));
  await assert.rejects(connect("127.0.0.1:1", { WebSocket: undefined }), /--experimental-websocket|within/);
  await assert.rejects(connect(undefined, { WebSocket: Socket }), /Expected the address of the service/);
});

test("a connection that is dead without having said so is made again, and one that is only quiet is not", async (t) => {
  let answer = null;
  t.mock.method(globalThis, "fetch", async () => {
    if (answer === null) throw new Error("no answer");
    return { ok: true, text: async () => JSON.stringify({ state: answer }) };
  });
  await connected(t);
  let now = Math.round(performance.now()); // so that sums are exact
  t.mock.method(performance, "now", () => now);
  const wait = async (ms) => {
    for (let left = ms; left > 0; left -= 500) {
      now += 500;
      t.mock.timers.tick(500);
      await settled();
    }
  };
  const first = Socket.newest;
  first.tell({ type: "event", kind: "state", stream: "eeg", message: "", unix_time: 0, data: { state: "searching" } });
  await wait(10_000);
  assert.equal(fetch.mock.callCount(), 0);
  answer = "searching";
  await wait(5000);
  assert.equal(fetch.mock.callCount(), 1);
  assert.equal(first.closed, false);
  for (const stated of ["live", "stale", null]) {
    const before = Socket.newest;
    answer = stated;
    await wait(20_000);
    assert.ok(before.closed, `state ${stated}`);
    await wait(500);
    assert.notEqual(Socket.newest, before);
    Socket.newest.tell(HELLO, { type: "event", kind: "state", stream: "eeg", message: "", unix_time: 0, data: { state: "lost" } });
  }
});

test("ages are those of LSL's clock, or of the message where that is not known", async (t) => {
  const stream = await connected(t);
  let now = 1000;
  t.mock.method(performance, "now", () => now);
  t.mock.method(Date, "now", () => 1e12 + now);
  const [all, axes] = [stream.messages(["prediction", "decision"]), stream.axes()];
  Socket.newest.tell(prediction(1, { unix_time: 1e9 + 0.9, probabilities: [null, 1] }));
  Socket.newest.tell({ type: "decision", seq: 1, time: 5, class: "feet", confidence: 1, age_ms: 2 }, { type: "axes", seq: 1, time: 5, values: {} });
  const [first, decision] = queued(all);
  now += 30;
  assert.ok(Math.abs(first.ageMs - 130) < 1e-3);
  assert.equal(decision.ageMs, 32);
  assert.ok(decision.isFresh(32) && !decision.isFresh(31));
  assert.equal(axes.poll().isFresh(Infinity), false);
  assert.deepEqual(first.probabilities, [NaN, 1]);
  assert.throws(() => (first.valid = false), TypeError);
});

test("commands are requests with the token, and refusals are errors", async (t) => {
  const stream = await connected(t, { token: "secret" });
  let answer;
  t.mock.method(globalThis, "fetch", async () => {
    if (!answer) throw new TypeError("fetch failed");
    const [status, content] = answer;
    return { ok: status < 300, status, text: async () => content };
  });
  answer = [200, '{"paused": true}'];
  assert.deepEqual(await stream.pause(), { paused: true });
  await stream.setPolicy({ decide: { commit: 0.9 } });
  const [url, { method, headers, body }] = fetch.mock.calls[1].arguments;
  assert.deepEqual([url, method, headers.Authorization, body], ["http://127.0.0.1:1/v1/streams/eeg/control", "PUT", "Bearer secret", '{"decide":{"commit":0.9}}']);
  answer = [204, ""];
  assert.deepEqual(await stream.dropModel(), {});
  for (const [given_, expected] of [
    [[403, '{"detail": "no"}'], TokenError],
    [[409, '{"detail": "There is nothing to roll back here."}'], RefusedError],
    [[200, "<html>"], ProtocolError],
    [undefined, UnreachableError],
  ]) {
    answer = given_;
    await assert.rejects(stream.adaptation("rollback", { updates: 1 }), expected);
  }
});

test("a function that fails keeps no other from the messages", async (t) => {
  const stream = await connected(t);
  const seen = [];
  const errors = t.mock.method(console, "error", () => {});
  stream.on("prediction", () => {
    throw new Error("of the user");
  });
  const end = stream.on("prediction", ({ seq }) => seen.push(seq));
  Socket.newest.tell(prediction(1), prediction(2));
  end();
  Socket.newest.tell(prediction(3));
  assert.deepEqual(seen, [1, 2]);
  assert.equal(errors.mock.callCount(), 3);
  assert.ok(stream.connected);
});

test("markers that are not taken before the end are reported", async (t) => {
  const stream = await connected(t);
  t.mock.method(globalThis, "fetch", async () => ({ ok: false, status: 409, json: async () => ({}) }));
  const lost = [];
  stream.markers.onrefused = (why, markers) => lost.push(...markers.map(({ label }) => label));
  assert.throws(() => stream.markers.send("left_hand"), /not synchronised/);
  stream.markers.send("left_hand", 5);
  await assert.rejects(stream.markers.atPaint("left_hand"), /no display/);
  const closed = stream.close();
  await settled();
  t.mock.timers.tick(2000);
  await closed;
  assert.deepEqual(lost, ["left_hand"]);
  assert.equal(stream.markers.waiting, 0);
});
