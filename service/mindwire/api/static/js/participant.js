// The page for the person: shows what the task says, full screen. It follows the task's state in the service, so that it can be
// closed, loaded again or lose its connection: the trial under way is then repeated.

import { Clock, Markers, TokenError } from "../client.js";
import { frames } from "./canvas.js";
import { write } from "./dom.js";
import { captionOf, className } from "./participant/caption.js";
import { Evidence } from "./participant/evidence.js";
import { Messages } from "./participant/messages.js";
import { Player } from "./participant/player.js";
import { Sound } from "./participant/sound.js";
import { Stage } from "./participant/stage.js";
import { Stop } from "./participant/stop.js";
import { Refused, Unauthorised, adoptTokenFromAddress, currentToken, follow, get } from "./service.js";
import { NONE, Task, deliver, isOpen, scoreOf } from "./task.js";
import { applyTexts, plural, text } from "./texts.js";
import { TokenDialog } from "./token.js";

const BREAK_AFTER_MS = 5 * 60_000; // a break is suggested after as long a time without one
const RECORDED_MS = 1000; // in which a marker that the service has taken has come to the recording
const FLUSHED_WITHIN_MS = 10_000; // markers that the service does not take by then are missing in the recording
const SEEN_EVERY_MS = 3000; // the service pauses a task whose page has been away for ten seconds
const BEGUN = "mindwire-task-begun"; // by this browser

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

adoptTokenFromAddress();
applyTexts(document);
const dialog = new TokenDialog(() => location.reload());
const messages = new Messages(go);
const stream = await chosenStream();
const address = `/v1/streams/${encodeURIComponent(stream)}`;
const clock = new Clock({ token: currentToken() });
const markers = new Markers(clock, { stream, token: currentToken() });
const sound = new Sound();
const stage = new Stage(/** @type {HTMLCanvasElement} */ (part("stimulus")), className);
const task = new Task(stream, changed);

let alone = false; // no other window of this browser shows the task
/** @type {{classes: string[], windowS: number, decides: boolean, hasModel: boolean} | null} */
let decoder = null;
let playedFrom = 0; // milliseconds; 0 while nothing is played
let suggested = false;
let prepared = ""; // the task that the player is prepared for
let busy = false; // a trial is being reported, or the end
/** @type {Promise<void> | null} */
let pausing = null; // until the service has paused the task
let wishes = 0; // of the person: to go on, to pause or to stop
let goes = false; // the last one is to go on
let reported = Promise.resolve(); // once the last trial has been
let missing = 0; // markers of the task that are not in its recording
let refusal = "";

const player = new Player({
  stage,
  sound,
  caption,
  ended,
  mark: (label) => markers.atPaint(label),
  send: sendNow,
});
const stop = new Stop(address, { pause: pauseTask, halt, show });

markers.onrefused = (/** @type {string} */ why, /** @type {unknown[]} */ refused) => miss(refused.length, why);

/** Send a marker of now; before the clock is synchronised it has no time, and is left out. @param {string} label */
function sendNow(label) {
  if (clock.state.offset_s !== null) markers.send(label, clock.toLsl(performance.now()), clock.state.uncertainty_ms);
}

/** Say that markers are not recorded. @param {number} n @param {string} why */
function miss(n, why) {
  missing += n;
  part("missing").hidden = false;
  write(part("missing"), `${plural("participant.missing", missing)} ${why}`);
}

/** The stream in the address, or the only one; asks again until there is one. */
async function chosenStream() {
  const named = decodeURIComponent(location.hash.slice(1));
  if (named) return named;
  for (;;) {
    try {
      const [first] = await get("/v1/streams");
      if (first) return first.name;
    } catch (error) {
      if (error instanceof Unauthorised) dialog.ask();
      else if (!(error instanceof Refused)) console.info(String(error));
    }
    messages.show("waiting", { task: NONE, refusal: "", unpaused: "", stream: "" });
    while (dialog.asking) await new Promise((resolve) => setTimeout(resolve, 100));
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** Hold the stream's lock: of two windows of one browser, only one may show the task and send markers. */
function becomeOnly() {
  if (!navigator.locks) {
    alone = true; // no secure context
    return;
  }
  navigator.locks.request(`mindwire-participant-${stream}`, () => {
    alone = true;
    show();
    return new Promise(() => {}); // until this page is closed
  });
}

const connect = () =>
  follow(
    stream,
    {
      hello({ classes, control, has_model: hasModel, window_samples: window, sfreq }) {
        decoder = { classes, windowS: window / sfreq, decides: control !== null, hasModel: hasModel && classes.length > 0 };
        prepared = "";
        stop.paused = control?.paused ?? false;
      },
      connection({ connected }) {
        refusal = "";
        if (connected) refresh();
        else {
          halt();
          show();
        }
      },
      prediction: (prediction) => player.predicted(prediction),
      decision: (decision) => player.decided(decision),
      event: happened,
    },
    (error) => {
      if (error instanceof TokenError) dialog.ask();
      else refusal = error.message;
      show();
    },
    { clock: false },
  );

/** @param {import("../client.js").Event} event */
function happened({ kind, data }) {
  if (kind === "task") refresh();
  else if (kind === "control") {
    if (typeof data.paused === "boolean") stop.paused = data.paused;
    if (data.policy && decoder) decoder.decides = true;
    show();
  } else if (kind === "model" && ["swapped", "rolled_back"].includes(data.state)) {
    followed.close(); // a new hello describes the model that is now in use
    followed = connect();
  }
}

async function refresh() {
  try {
    await task.refresh();
  } catch (error) {
    refusal = error instanceof Refused ? error.message : "";
    show();
  }
}

/** The task's state has changed. */
function changed() {
  refusal = "";
  show();
}

/** Stop playing at once; the trial under way does not count. */
function halt() {
  if (player.busy) player.abort();
}

/** Play if everything is as it must be, else say what is not. */
function show() {
  const obstacle = whyNot();
  if (obstacle) {
    halt();
    playedFrom = 0;
  } else if (!player.busy && !busy) next();
  document.body.dataset.mode = obstacle ? "message" : "playing";
  if (obstacle) messages.show(obstacle, { task: task.state, refusal, unpaused: stop.problem, stream });
  showProgress();
}

/** Why nothing is played; empty if it is. */
function whyNot() {
  if (!alone) return "elsewhere";
  if (refusal) return "refused";
  if (!followed.connected) return "disconnected";
  if (stop.active) return "stopped";
  const { state, paradigm } = task.state;
  if (!isOpen(task.state)) return state === "none" ? "waiting" : state;
  if (needsModel(paradigm) && !decoder?.hasModel) return "no_model";
  if (paradigm.kind === "control" && !decoder?.decides) return "no_control";
  if (pausing || state === "paused") return suggested ? "break" : "paused";
  if (state !== "running") return state;
  if (!clock.state.synchronised && !player.busy) return "clock"; // a trial under way goes on while it is measured again
  if (document.hidden) return "paused";
  return "";
}

/** @param {import("./task.js").Paradigm} paradigm */
const needsModel = ({ kind, feedback = "none" }) => kind === "control" || (kind === "cued" && feedback !== "none");

/** Begin the next trial of the plan, or end the task after the last one. */
function next() {
  const state = task.state;
  const trial = state.plan.find(({ index }) => index === state.next);
  const fresh = playedFrom === 0;
  if (!trial) {
    finish();
    return;
  }
  prepare();
  if (fresh) {
    playedFrom = performance.now();
    suggested = false;
    const begun = localStorage.getItem(BEGUN) === nameOf(state);
    if (!begun) missing = 0;
    part("missing").hidden = missing === 0;
    sendNow(begun ? "resume" : `task_start ${state.paradigm.name}`);
    localStorage.setItem(BEGUN, nameOf(state));
  }
  player.begin(trial, fresh);
}

/** @param {import("./task.js").TaskState} task */
const nameOf = ({ participant, date, number }) => JSON.stringify([stream, participant, date, number]);

/** Give the player the paradigm and what decides its feedback. */
function prepare() {
  const { paradigm } = task.state;
  if (nameOf(task.state) === prepared) return;
  prepared = nameOf(task.state);
  sound.enabled = paradigm.sound !== false;
  stage.use(paradigm.classes ?? [], paradigm.moves);
  const feedback = paradigm.kind === "cued" && paradigm.feedback !== "none" && decoder;
  player.use(paradigm, feedback ? new Evidence(paradigm.classes ?? [], feedback.classes, feedback.windowS) : null);
}

/** @param {import("./participant/player.js").Ended} trial */
async function ended(trial) {
  busy = true;
  reported = report(trial);
  await reported;
  busy = false;
  const due = playedFrom > 0 && performance.now() - playedFrom > BREAK_AFTER_MS;
  if (trial.outcome === "done" && due && task.state.next !== null && task.state.state === "running") {
    suggested = true;
    pause();
  }
  show();
}

/** @param {import("./participant/player.js").Ended} trial */
async function report(trial) {
  try {
    await task.report(trial);
  } catch (error) {
    await refresh(); // the task has been ended or interrupted: the service's state counts
    if (trial.outcome === "done") refusal = error instanceof Refused ? error.message : String(error);
  }
}

async function finish() {
  busy = true;
  sendNow("task_end");
  try {
    const waiting = await markers.flush(FLUSHED_WITHIN_MS); // before the recording ends, which gets them over LSL
    if (waiting) miss(waiting, "");
    await new Promise((resolve) => setTimeout(resolve, RECORDED_MS));
    await deliver(() => task.command("finish"));
  } catch (error) {
    refusal = error instanceof Error ? error.message : String(error);
    if (error instanceof Unauthorised) dialog.ask();
  }
  busy = false;
  show();
}

function pause() {
  wishes += 1;
  goes = false;
  halt();
  pauseTask();
}

function stopAll() {
  wishes += 1;
  goes = false;
  stop.now();
}

async function pauseTask() {
  if (task.state.state !== "running" || pausing) return;
  sendNow("pause");
  pausing = reported.then(() => deliver(() => task.command("pause"))).catch(refresh); // it was paused or ended elsewhere
  show();
  await pausing;
  pausing = null;
  show();
}

/** The person wants to begin or go on. */
async function go() {
  wishes += 1;
  goes = true;
  const wish = wishes;
  fullScreen(true);
  await pausing;
  if (wish !== wishes) return;
  try {
    const control = task.state.state !== "none" && task.state.paradigm.kind === "control";
    if (!(await stop.end(control))) return;
    if (isOpen(task.state) && task.state.state !== "running") await task.command("resume");
    else await refresh();
    if (stop.active || !goes) pauseTask(); // stopped or paused meanwhile
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    else refusal = error instanceof Error ? error.message : String(error);
  }
  show();
}

let leaves = false; // the full screen, by the key for it

/** @param {boolean} wanted */
async function fullScreen(wanted) {
  if (wanted === Boolean(document.fullscreenElement)) return;
  try {
    leaves = !wanted;
    await (wanted ? document.documentElement.requestFullscreen() : document.exitFullscreen());
  } catch {
    // not allowed here: the window does as well
  }
}

/** @param {import("./participant/steps.js").Step | null} step @param {import("./participant/stage.js").Scene} scene */
function caption(step, scene) {
  write(part("caption"), captionOf(step, scene));
}

function showProgress() {
  const { state, paradigm, plan, trials } = task.state;
  const { decided, right, attempts, reached } = scoreOf(task.state);
  const done = trials.filter(({ outcome }) => outcome === "done").length;
  const many = state !== "none" && plan.length > 1;
  const all = plan.length - trials.filter(({ outcome }) => outcome === "aborted").length; // those are in the plan twice
  write(part("progress"), many && isOpen(task.state) ? text("participant.progress", { n: Math.min(done + 1, all), all }) : "");
  const score = decided ? text("participant.score", { right, n: decided }) : attempts ? text("participant.targets", { reached, n: attempts }) : "";
  write(part("score"), paradigm && isOpen(task.state) ? score : "");
}

/** @param {number} now */
function frame(now) {
  player.frame(now);
  const left = player.remaining(now);
  const long = left && (left.phase === "rest" || left.phase === "eyes");
  part("silent").hidden = sound.ready || !sound.enabled || !isOpen(task.state);
  write(part("left"), long ? text("participant.left", { time: `${Math.floor(left.seconds / 60)}:${String(Math.floor(left.seconds % 60)).padStart(2, "0")}` }) : "");
  frames(now);
  requestAnimationFrame(frame);
}

for (const kind of ["keydown", "pointerdown"]) document.addEventListener(kind, () => sound.unlock());
part("stop").addEventListener("click", () => stopAll());
part("pause").addEventListener("click", () => pause());
part("screen").addEventListener("click", () => fullScreen(!document.fullscreenElement));
document.addEventListener("fullscreenchange", () => {
  const byKey = leaves;
  leaves = false;
  if (!document.fullscreenElement && !byKey && document.body.dataset.mode === "playing") stopAll(); // Escape: the browser keeps the key for itself
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && document.body.dataset.mode === "playing") pause();
});
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || dialog.asking) return;
  const playing = document.body.dataset.mode === "playing";
  const key = event.key.toLowerCase();
  if (key === "escape" || key === "s") stopAll();
  else if (key === "f") fullScreen(!document.fullscreenElement);
  else if (key === "p" && playing) pause();
  else if (key === " " && !(event.target instanceof HTMLButtonElement)) {
    if (playing) pause();
    else if (messages.canGo) go();
  } else return;
  event.preventDefault();
});

document.title = `${stream} · ${text("participant.title")}`;
clock.onjump(() => show());
clock.start();
let followed = connect();
becomeOnly();
show();
setInterval(() => alone && followed.connected && task.state.state === "running" && task.seen().catch((error) => console.info(String(error))), SEEN_EVERY_MS);
setInterval(() => document.body.dataset.shown === "clock" && clock.state.synchronised && show(), 200);
requestAnimationFrame(frame);
