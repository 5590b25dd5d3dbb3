// What the participant's page plays and decides, as far as it is pure: steps of trials, the board, and the rule of a feedback trial.

import assert from "node:assert/strict";
import { test } from "node:test";

const PARTICIPANT = "../../service/mindwire/api/static/js/participant/";
const { Board, directionsOf } = await import(`${PARTICIPANT}board.js`);
const { Evidence } = await import(`${PARTICIPANT}evidence.js`);
const { stepsOf } = await import(`${PARTICIPANT}steps.js`);

const CUED = { kind: "cued", name: "x", classes: ["left_hand", "right_hand"], fixation_s: 2, cue_s: 1.25, imagery_s: 4, feedback: "none" };
const seconds = (steps) => steps.reduce((sum, step) => sum + step.seconds, 0);
const prediction = (time, probabilities, valid = true) => ({ type: "prediction", time, probabilities, valid });

test("a trial lasts as long as its paradigm says, with feedback or without", () => {
  const trial = { index: 3, label: "left_hand", pause_s: 2.5 };
  for (const feedback of ["none", "bar", "cursor"]) {
    const steps = stepsOf({ ...CUED, feedback }, trial);
    assert.ok(Math.abs(seconds(steps) - (2 + 4 + 2.5)) < 1e-9, feedback);
    assert.deepEqual(steps.flatMap(({ marker }) => marker ?? []), ["fixation", "left_hand", "imagery_end"]);
  }
});

test("the cue of a practice trial is marked as one, and shown as its class", () => {
  const cue = stepsOf(CUED, { index: 0, label: "practice_right_hand" }).find(({ phase }) => phase === "cue");
  assert.equal(cue.marker, "practice_right_hand");
  assert.equal(cue.label, "right_hand");
});

test("rest, eyes and control have the markers of the vocabulary", () => {
  const markers = (paradigm, label) => stepsOf(paradigm, { index: 0, label, pause_s: 6 }).flatMap(({ marker }) => marker ?? []);
  assert.deepEqual(markers({ kind: "rest", duration_s: 120 }, "rest_start"), ["rest_start", "rest_end"]);
  assert.deepEqual(markers({ kind: "eyes", blocks: [{ eyes: "closed", duration_s: 9 }] }, "eyes_closed"), ["eyes_closed", "eyes_open"]);
  assert.deepEqual(markers({ kind: "control", limit_s: 30 }, "target -1 2"), ["rest_start", "target -1 2"]);
});

test("decisions move the cursor as the service's own task has it", () => {
  const board = new Board("target -1 1");
  for (const label of ["left_hand", "feet", "tongue", "nothing", "tongue"]) board.move(label);
  assert.deepEqual([board.cursor, board.reached, board.decisions, board.wrong], [[-1, 1], true, 5, 2]);
  for (let step = 0; step < 9; step += 1) board.move("right_hand");
  assert.deepEqual(board.cursor, [3, 1]);
});

test("classes without a direction of their own get those that are free", () => {
  assert.deepEqual([...directionsOf(["music", "right_hand", "sums"]).entries()], [["music", [-1, 0]], ["right_hand", [1, 0]], ["sums", [0, -1]]]);
});

test("the newest prediction at the end of the imagery decides, among the classes that are cued", () => {
  const evidence = new Evidence(["left_hand", "right_hand"], ["feet", "left_hand", "right_hand"], 4);
  evidence.begin(0);
  evidence.add(prediction(12, [0, 0.01, 0.99]));
  evidence.add(prediction(13.9, [0, 0.01, 0.99]));
  evidence.add(prediction(14, [0.5, 0.4, 0.1]));
  evidence.add(prediction(14.04, [0, 0.01, 0.99])); // after the end
  assert.deepEqual(evidence.result(10, 14), { class: "left_hand", probabilities: { left_hand: 0.8, right_hand: 0.2 }, time: 14, windows: 1 });
});

test("short windows that the imagery holds whole decide together, without overlap", () => {
  const decided = (windowS, onset = 10) => {
    const evidence = new Evidence(["left_hand", "right_hand"], ["left_hand", "right_hand"], windowS);
    evidence.begin(0);
    for (let time = 10; time <= 14; time += 0.5) evidence.add(prediction(time, time === 12 ? [0.1, 0.9] : [0.6, 0.4], time !== 11));
    return evidence.result(onset, 14);
  };
  const { class: label, probabilities, windows } = decided(2); // those of 14 and 12
  assert.deepEqual([label, windows], ["right_hand", 2]);
  assert.ok(Math.abs(probabilities.right_hand - Math.sqrt(0.36) / (Math.sqrt(0.36) + Math.sqrt(0.06))) < 1e-3);
  assert.equal(decided(2, 10.05).windows, 2); // times of frames
  assert.equal(decided(2, 10.2).windows, 1);
  assert.equal(decided(3).windows, 1);
  assert.equal(decided(1).windows, 3); // of 14, 13 and 12: that of 11 is invalid
  assert.equal(decided(0).windows, 8 - 1); // no window shorter than half a second
});

test("nothing is decided without a prediction, or with an invalid or old one", () => {
  const evidence = new Evidence(["left_hand", "right_hand"], ["left_hand", "right_hand"], 2);
  const nothing = { class: null, probabilities: {}, time: null, windows: 0 };
  evidence.begin(0);
  assert.deepEqual(evidence.result(10, 14), nothing);
  evidence.add(prediction(12, [0.9, 0.1]));
  evidence.add(prediction(13.49, [0.9, 0.1]));
  assert.deepEqual(evidence.result(10, 14), nothing); // half a second old
  evidence.add(prediction(13.5, [0.9, 0.1]));
  assert.equal(evidence.result(10, 14).class, "left_hand");
  evidence.add(prediction(13.98, [null, null], false));
  assert.deepEqual(evidence.result(10, 14), nothing);
});
