// The next sensible step of a session, from what is known: a pure function.

export const CALIBRATION_RUNS = 2;
/** The way from cap to control, as steps that are done or not. */
export const WAY = /** @type {const} */ (["cap", "rest", "calibrate", "train", "live", "feedback", "improve", "control"]);

/**
 * @typedef {"show_connect" | "focus_participant" | "open_window" | "resume" | "rest" | "calibrate" | "feedback" | "control" | "train" | "improve" | "put_live" | "cancel"} Act
 * @typedef {{key: string, values?: Record<string, string | number>, act?: Act, skip?: string, at: (typeof WAY)[number]}} Next
 *   ``skip`` is the step to leave out.
 * @typedef {{rest: number, calibrations: number, feedbacks: number, controls: number, trainings: number, improvements: number}} Done
 * @typedef {{keepsNone: string, stream: string | null, state: string, reason: string, bad: string[], participant: string, task: import("../task.js").TaskState | null,
 *   job: {kind: string} | null, done: Done, offered: string | null, live: string | null, poor: boolean, trials: number, restTime: string, skipped: Set<string>, shown: boolean}} Facts
 *   ``task`` is null unless it can go on; ``offered`` and ``live`` are models of the participant: one that may be put live, one that is; ``shown`` is true if a
 *   participant page has been opened.
 */

/**
 * What to do next.
 *
 * @param {Facts} facts
 * @returns {Next}
 */
export function nextStep(facts) {
  const { keepsNone, stream, state, reason, bad, participant, task, skipped } = facts;
  if (keepsNone) return { key: "no_sessions", values: { reason: keepsNone }, at: "cap" };
  if (stream === null) return { key: "connect", act: "show_connect", at: "cap" };
  if (task) return duringTask(task, facts);
  if (facts.job) return { key: facts.job.kind === "improve" ? "improving" : "training", at: facts.job.kind === "improve" ? "improve" : "train" };
  if (["searching", "connecting", "lost", "failed", "stale"].includes(state)) return { key: "signal", values: { reason }, at: "cap" };
  if (bad.length && !skipped.has("electrodes")) return { key: "electrodes", values: { channels: bad.join(", ") }, skip: "electrodes", at: "cap" };
  if (!participant) return { key: "participant", act: "focus_participant", at: "cap" };
  return facts.live === null ? towardsModel(facts) : withModel(facts);
}

/** @param {import("../task.js").TaskState} task @param {Facts} facts @returns {Next} */
function duringTask({ state, paradigm }, { shown }) {
  const at = paradigm.kind === "rest" || paradigm.kind === "eyes" ? "rest" : paradigm.kind === "control" ? "control" : paradigm.feedback && paradigm.feedback !== "none" ? "feedback" : "calibrate";
  if (!shown) return { key: "open", act: "open_window", at };
  if (state === "running") return { key: "running", at };
  return { key: state, act: "resume", at };
}

/** @param {Facts} facts @returns {Next} */
function towardsModel({ done, offered, poor, trials, restTime, skipped }) {
  if (offered && !(poor && !skipped.has("poor"))) return { key: "put_live", values: { model: offered }, act: "put_live", at: "live" };
  if (offered) return { key: "poor", act: "calibrate", skip: "poor", at: "calibrate" };
  if (!done.rest && !skipped.has("rest")) return { key: "rest", values: { time: restTime }, act: "rest", skip: "rest", at: "rest" };
  if (done.calibrations < CALIBRATION_RUNS) return { key: "calibrate", values: { n: done.calibrations + 1, of: CALIBRATION_RUNS, trials }, act: "calibrate", at: "calibrate" };
  return { key: "train", act: "train", at: "train" };
}

/** @param {Facts} facts @returns {Next} */
function withModel({ done, offered, live, skipped }) {
  if (offered && offered !== live && !skipped.has(`offer ${offered}`)) return { key: "put_live", values: { model: offered }, act: "put_live", skip: `offer ${offered}`, at: "improve" };
  if (!done.feedbacks) return { key: "feedback", act: "feedback", at: "feedback" };
  if (done.improvements < done.feedbacks && !skipped.has(`improve ${done.feedbacks}`)) return { key: "improve", act: "improve", skip: `improve ${done.feedbacks}`, at: "improve" };
  if (!done.controls) return { key: "control", act: "control", at: "control" };
  return { key: "finished", act: "feedback", at: "control" };
}

/** The steps of the way that are done. @param {Facts} facts */
export function stepsDone({ stream, state, done, live, participant, bad, skipped }) {
  return {
    cap: stream !== null && (state === "live" || state === "settling") && participant !== "" && (!bad.length || skipped.has("electrodes")),
    rest: done.rest > 0,
    calibrate: done.calibrations >= CALIBRATION_RUNS,
    train: done.trainings > 0 || live !== null,
    live: live !== null,
    feedback: done.feedbacks > 0,
    improve: done.improvements > 0,
    control: done.controls > 0,
  };
}

/** The jobs that are done: trainings of any day, and improvements of today. @param {import("./model_card.js").Job[]} jobs @param {string | undefined} today */
export function jobsDone(jobs, today) {
  const done = jobs.filter(({ state }) => state === "done");
  const dayOf = (/** @type {number} */ seconds) => new Date(1000 * seconds).toLocaleDateString("sv");
  return {
    trainings: done.filter(({ kind }) => kind === "train").length,
    improvements: done.filter(({ kind, started_unix }) => kind === "improve" && dayOf(started_unix) === today).length,
  };
}

/** True for a model that was trained on a participant's runs, by its id: the participant, the day and a number. @param {string | null} id @param {string} participant */
export const isModelOf = (id, participant) => id?.match(/^(.+)-\d{4}-\d\d-\d\d-\d+$/)?.[1] === participant;
