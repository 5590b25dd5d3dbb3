// The guide of the session page: the next sensible step, from an empty service to control.

import assert from "node:assert/strict";
import { test } from "node:test";

const { isModelOf, jobsDone, nextStep, stepsDone } = await import("../../service/mindwire/api/static/js/session/next_step.js");

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

test("a model belongs to the participant of its whole id", () => {
  assert.equal(isModelOf("P01-2026-01-31-12", "P01"), true);
  for (const id of ["P01-left-2026-01-31-1", "P011-2026-01-31-1", "P01-demo", null]) assert.equal(isModelOf(id, "P01"), false, String(id));
  assert.equal(isModelOf("P01-left-2026-01-31-1", "P01-left"), true);
});

test("improvements count on their day, as the feedback runs before them", () => {
  const at = (kind, day, state = "done") => ({ kind, state, started_unix: new Date(2026, 0, day, 12).getTime() / 1000 });
  const jobs = [at("train", 1), at("improve", 1), at("improve", 2), at("improve", 2, "failed")];
  assert.deepEqual(jobsDone(jobs, "2026-01-02"), { trainings: 1, improvements: 1 });
});

test("the guide says how long the rest takes that it begins", () => {
  assert.equal(nextStep(facts({ restTime: "3 minutes" })).values.time, "3 minutes");
});
