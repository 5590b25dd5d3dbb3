// The guide of the session page: the next sensible step, from an empty service to control.

import assert from "node:assert/strict";
import { test } from "node:test";

const { nextStep, stepsDone } = await import("../../service/mindwire/api/static/js/session/next_step.js");

const DONE = { rest: 0, calibrations: 0, feedbacks: 0, controls: 0, trainings: 0, improvements: 0 };
const facts = (given = {}, done = {}) => ({
  keepsNone: "", stream: "cap", state: "live", reason: "", bad: [], participant: "P01", task: null, job: null, offered: null, live: null,
  poor: false, trials: 20, skipped: new Set(), shown: true, ...given, done: { ...DONE, ...done },
});
const key = (...given) => nextStep(facts(...given)).key;

test("the way from an empty service to control", () => {
  const way = [
    facts({ stream: null }),
    facts({ state: "searching" }),
    facts({ bad: ["C3"] }),
    facts({ participant: "" }),
    facts(),
    facts({}, { rest: 1 }),
    facts({}, { rest: 1, calibrations: 1 }),
    facts({}, { rest: 1, calibrations: 2 }),
    facts({ job: { kind: "train" } }, { rest: 1, calibrations: 2 }),
    facts({ offered: "P01-1" }, { rest: 1, calibrations: 2, trainings: 1 }),
    facts({ offered: "P01-1", live: "P01-1" }, { rest: 1, calibrations: 2, trainings: 1 }),
    facts({ offered: "P01-1", live: "P01-1" }, { feedbacks: 1 }),
    facts({ offered: "P01-2", live: "P01-1" }, { feedbacks: 1, improvements: 1 }),
    facts({ offered: "P01-2", live: "P01-2" }, { feedbacks: 1, improvements: 1 }),
    facts({ offered: "P01-2", live: "P01-2" }, { feedbacks: 1, improvements: 1, controls: 1 }),
  ];
  assert.deepEqual(way.map((one) => nextStep(one).key), [
    "connect", "signal", "electrodes", "participant", "rest", "calibrate", "calibrate", "train", "training", "put_live", "feedback", "improve", "put_live", "control", "finished",
  ]);
});

test("steps that are skipped are not proposed again", () => {
  assert.equal(key({ bad: ["C3"], skipped: new Set(["electrodes"]) }), "rest");
  assert.equal(key({ skipped: new Set(["rest"]) }), "calibrate");
});

test("a poor model is not proposed before another run, unless the operator wants it", () => {
  const poor = { offered: "P01-1", poor: true };
  assert.equal(key(poor, { rest: 1, calibrations: 2 }), "poor");
  assert.equal(key({ ...poor, skipped: new Set(["poor"]) }, { rest: 1, calibrations: 2 }), "put_live");
});

test("an open task comes first, and its page", () => {
  const paradigm = { kind: "cued", name: "x", feedback: "bar" };
  assert.equal(key({ task: { state: "ready", paradigm }, shown: false }), "open");
  assert.deepEqual(nextStep(facts({ task: { state: "interrupted", paradigm } })), { key: "interrupted", act: "resume", at: "feedback" });
});

test("what is done is marked on the way", () => {
  const done = stepsDone(facts({ live: "P01-1" }, { rest: 1, calibrations: 1 }));
  assert.deepEqual(Object.keys(done).filter((step) => done[step]), ["cap", "rest", "train", "live"]);
});
