// The runs of the participant's sessions, newest day first; and what has been done today.

import { element } from "../dom.js";
import { titleOf } from "../participant/messages.js";
import { scoreOf } from "../task.js";
import { text } from "../texts.js";

/**
 * @typedef {import("../task.js").TaskState} TaskState
 * @typedef {{run: number, file: string, status: string, cues: Record<string, number> | null}} Run
 * @typedef {{date: string, runs: Run[], tasks: TaskState[]}} Session
 */

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** What is done on the newest day, by kind of task. @param {Session[]} sessions @param {string | undefined} today */
export function doneOf(sessions, today) {
  const done = { rest: 0, calibrations: 0, feedbacks: 0, controls: 0 };
  for (const { paradigm, state } of sessions.find(({ date }) => date === today)?.tasks ?? []) {
    if (state !== "done") continue;
    if (paradigm.kind === "rest") done.rest += 1;
    else if (paradigm.kind === "control") done.controls += 1;
    else if (paradigm.kind === "cued" && paradigm.feedback !== "none") done.feedbacks += 1;
    else if (paradigm.kind === "cued") done.calibrations += 1;
  }
  return done;
}

/** True if a participant has trials to train on. @param {Session[]} sessions */
export const hasTrials = (sessions) => sessions.some(({ tasks, runs }) => tasks.some(({ paradigm, trials }) => paradigm.kind === "cued" && trials.length > 0) || runs.some(({ cues }) => cues && Object.keys(cues).length > 0));

export class Runs {
  #table = /** @type {HTMLTableElement} */ (document.getElementById("runs"));
  #shown = "";

  /** @param {Session[]} sessions */
  show(sessions) {
    const rows = [...sessions].sort((a, b) => b.date.localeCompare(a.date)).flatMap((session) => rowsOf(session));
    const now = JSON.stringify(rows);
    if (now === this.#shown) return;
    this.#shown = now;
    part("no-runs").hidden = rows.length > 0;
    this.#table.hidden = rows.length === 0;
    this.#table.tBodies[0].replaceChildren(...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", { text: cell })))));
  }
}

/** @param {Session} session @returns {string[][]} the newest run first */
function rowsOf({ date, runs, tasks }) {
  return [...runs].reverse().map(({ run, file, status, cues }) => {
    const task = tasks.find(({ recordings }) => recordings.some((path) => path.endsWith(file)));
    const trials = task ? task.trials.filter(({ outcome }) => outcome === "done").length : Object.values(cues ?? {}).reduce((sum, n) => sum + n, 0);
    return [date, String(run), task ? titleOf(task.paradigm) : text("session.runs.recording"), trials ? String(trials) : "–", resultOf(task, status)];
  });
}

/** @param {TaskState | undefined} task @param {string} status of the run */
function resultOf(task, status) {
  if (task) {
    const { decided, right, attempts, reached } = scoreOf(task);
    if (decided) return text("session.score", { right, n: decided, percent: Math.round((100 * right) / decided) });
    if (attempts) return text("session.targets", { reached, n: attempts });
    if (task.state !== "done") return text(`session.task.${task.state}`);
  }
  return text(`session.runs.${status}`);
}
