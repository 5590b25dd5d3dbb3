// The operator's page: from a cap to control, step by step, and better after each run.

import { TokenError } from "../client.js";
import { AddSource } from "./session/add_source.js";
import { frames } from "./canvas.js";
import { byId, write } from "./dom.js";
import { oneAtATime } from "./one_at_a_time.js";
import { ProgressReport } from "./progress_report.js";
import { Refused, Unauthorised, follow, get, send } from "./service.js";
import { Guide } from "./session/guide.js";
import { Log } from "./session/log.js";
import { ModelCard, isOffered } from "./session/model_card.js";
import { isModelOf, jobsDone } from "./session/next_step.js";
import { RunCard } from "./session/run_card.js";
import { Runs, doneOf, hasTrials } from "./session/runs.js";
import { SignalCard, stateText } from "./session/signal_card.js";
import { mountShell } from "./shell.js";
import { Task, isOpen } from "./task.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";

const POLL_MS = 1000;
const SLOWLY = 4; // polls between questions whose answer seldom changes
const PARTICIPANT_WINDOW = "mindwire-participant";

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const poll = oneAtATime(ask);
const shell = mountShell({ page: "session", onstream: select });
const dialog = new TokenDialog(() => {
  select();
  poll();
});
const signal = new SignalCard();
const log = new Log();
const runs = new Runs();
const learning = new ProgressReport(byId("learning"));
let task = new Task("", show);
const runCard = new RunCard(command, task, () => {
  skipped.clear();
  refreshSessions();
});
const modelCard = new ModelCard(command, () => ({ stream: shell.stream ?? "", participant: runCard.participant }));
const addSource = new AddSource(command, (name) => {
  shell.choose(name);
  return poll();
});
const guide = new Guide(act, (step) => {
  skipped.add(step);
  show();
});

/** @type {import("../client.js").Stream | null} */
let stream = null;
/** @type {Set<string>} */
const skipped = new Set();
/** @type {any} */
let status = null;
/** @type {any} */
let swap = null;
/** @type {import("./session/model_card.js").Model[]} */
let models = [];
/** @type {import("./session/model_card.js").Job[]} */
let jobs = [];
/** @type {Map<string, import("./session/model_card.js").Job>} */
const detailed = new Map();
/** @type {import("./session/runs.js").Session[]} */
let sessions = [];
/** @type {number | null} */
let markerUncertainty = null;
/** @type {Window | null} */
let participantWindow = null;
let participantAt = -Infinity; // the last marker or trial of the participant page, milliseconds
let keepsNone = ""; // the sentence that refuses, where the service keeps no sessions
let commands = 0; // under way
let polls = 0;
let mayChange = true;

/** Carry out a command of the operator: a refusal is shown in the service's words. @type {import("./session/run_card.js").Command} */
async function command(place, work) {
  const problem = /** @type {HTMLElement} */ (place.querySelector(".problem"));
  problem.hidden = true;
  place.setAttribute("aria-busy", "true");
  commands += 1;
  show();
  try {
    await work();
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    write(problem, error instanceof Refused || error instanceof Unauthorised ? error.message : text("session.unanswered"));
    problem.hidden = false;
  }
  place.removeAttribute("aria-busy");
  commands -= 1;
  polls = 0;
  await poll();
}

/** Another stream. */
function select() {
  stream?.close();
  const name = shell.stream;
  if (name === null) return;
  log.clear();
  skipped.clear();
  task = new Task(name, show);
  runCard.use(task);
  markerUncertainty = null;
  participantAt = -Infinity;
  part("open-here").setAttribute("href", `/participant#${encodeURIComponent(name)}`);
  const messages = { connection, decision: (/** @type {import("../client.js").Decision} */ decision) => log.add(decision), event: take };
  stream = follow(name, messages, (error) => (error instanceof TokenError ? dialog.ask() : shell.link("closed", error.message)));
}

/** @param {import("../client.js").Connection} notice */
function connection({ connected }) {
  shell.link(connected ? "open" : "closed", text(connected ? "shell.connected" : "shell.reconnecting"));
  if (connected) refreshTask();
}

/** @param {import("../client.js").Event} event */
function take(event) {
  const { kind, data } = event;
  if (kind === "marker") {
    log.add(event);
    if (typeof data.uncertainty_ms === "number") {
      markerUncertainty = data.uncertainty_ms;
      participantAt = performance.now();
    }
  } else if (kind === "task") {
    if (data.trial) participantAt = performance.now();
    refreshTask();
    refreshSessions();
  } else if (kind === "model" || kind === "recording" || kind === "control") {
    polls = 0;
    poll();
    if (kind === "recording") refreshSessions();
  }
}

async function refreshTask() {
  try {
    await task.refresh();
  } catch (error) {
    if (!(error instanceof Refused)) shell.link("closed", text("shell.reconnecting"));
  }
}

/** What is known of the participants, and of the one who is named: sessions, and how the person learns. */
async function refreshSessions() {
  try {
    const everyone = await get("/v1/sessions");
    keepsNone = "";
    runCard.participants(everyone.map((/** @type {{participant: string}} */ one) => one.participant));
    const path = encodeURIComponent(runCard.participant);
    const known = everyone.some((/** @type {{participant: string}} */ one) => one.participant === runCard.participant);
    sessions = known ? (await get(`/v1/sessions/${path}`)).sessions : [];
    runs.show(sessions);
    const progress = known ? await maybe(`/v1/participants/${path}/progress`) : null;
    byId("learning").hidden = progress === null;
    if (progress !== null) learning.show(progress);
  } catch (error) {
    if (error instanceof Refused) keepsNone = error.message;
  }
  show();
}

/** An answer, or null where the service has none. @param {string} path */
async function maybe(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

async function ask() {
  if (dialog.asking) return;
  const slowly = polls % SLOWLY === 0;
  polls += 1;
  try {
    const streams = await get("/v1/streams");
    if (shell.stream === null || !streams.length) shell.link("open", text("shell.connected"));
    shell.showStreams(streams);
    status = streams.find((/** @type {{name: string}} */ { name }) => name === shell.stream) ?? null;
    if (status) swap = await maybe(`/v1/streams/${encodeURIComponent(status.name)}/model`);
    if (keepsNone === "") jobs = await get("/v1/training");
    await refreshReports();
    if (slowly) {
      models = await get("/v1/models");
      mayChange = (await get("/v1/access")).control;
      await runCard.refresh();
    }
    show();
  } catch (error) {
    if (error instanceof Unauthorised) {
      shell.link("closed", text("shell.token_needed"));
      dialog.ask();
    } else {
      shell.unreachable();
      shell.link("closed", text("shell.no_answer"));
      console.info(String(error));
    }
  }
}

/** The participant's model that is in use, and the newest that may be. */
function participantModels() {
  const participant = runCard.participant;
  const own = models.filter(({ id }) => isModelOf(id, participant));
  const live = own.find(({ sha256 }) => sha256 === status?.model.sha256)?.id ?? null;
  const mine = jobs.filter((job) => job.participant === participant).map((job) => detailed.get(job.id) ?? job);
  const made = mine.find(isOffered)?.model;
  const newest = own.map(({ id }) => String(id)).sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  return { live, offered: made ?? (mine.some(({ state }) => state === "done") ? null : newest) ?? null, job: mine[0] ?? null, jobs: mine };
}

/** Jobs that have ended, with their reports: lists leave these out. */
async function refreshReports() {
  for (const { id, state } of jobs.filter(({ participant }) => participant === runCard.participant).slice(0, 5)) {
    if (state === "running" || detailed.has(id)) continue;
    const found = await maybe(`/v1/training/${encodeURIComponent(id)}`);
    if (found) detailed.set(id, found);
  }
}

/** Everything that is known, on the page. */
function show() {
  const { live, offered, job, jobs: mine } = participantModels();
  const { state } = task.state;
  const open = isOpen(task.state);
  const shown = (participantWindow !== null && !participantWindow.closed) || performance.now() - participantAt < 60_000;
  const bad = (status?.quality ?? []).filter((/** @type {{verdict: string}} */ { verdict }) => verdict === "bad").map((/** @type {{label: string}} */ { label }) => label);
  const today = status ? new Date().toLocaleDateString("sv") : undefined;
  const done = doneOf(sessions, today);
  guide.show({
    keepsNone,
    stream: shell.stream !== null && status ? shell.stream : null,
    state: status?.state ?? "",
    reason: stateText(status?.state ?? "", status?.state_reason ?? ""),
    bad,
    participant: runCard.participant,
    task: open ? task.state : null,
    job: job?.state === "running" ? job : null,
    done: { ...done, ...jobsDone(mine, today) },
    offered,
    live,
    poor: offered !== null && mine.find(({ model }) => model === offered)?.report?.verdict?.level === "poor",
    trials: runCard.trials,
    restTime: runCard.restTime,
    skipped,
    shown,
  });
  part("connect").hidden = status !== null;
  part("left").hidden = part("right").hidden = status === null;
  signal.show(status);
  runCard.decoded(status?.has_model === false ? [] : (status?.classes ?? []));
  runCard.show(task.state, state === "running" && !shown ? text("session.not_open") : "");
  modelCard.show({ job, offered, live, swap, trainable: hasTrials(sessions) && !open, improvable: live !== null && hasTrials(sessions) && !open });
  part("read-only").hidden = mayChange;
  document.body.classList.toggle("reads-only", !mayChange);
  for (const one of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-changes]"))) {
    if (!mayChange || (commands > 0 && (one.id === "guide-act" || one.type === "submit"))) one.disabled = true;
    else if (!["train", "improve"].includes(one.id)) one.disabled = false;
  }
}

/** @param {import("./session/next_step.js").Act} what */
function act(what) {
  switch (what) {
    case "show_connect":
      addSource.search();
      break;
    case "focus_participant":
      runCard.focusParticipant();
      break;
    case "open_window":
      openWindow();
      break;
    case "resume":
      runCard.resume();
      break;
    case "train":
    case "improve":
      modelCard.begin(what);
      break;
    case "put_live":
      modelCard.putLive();
      break;
    default:
      runCard.start({ rest: "rest", calibrate: "motor-imagery", feedback: "feedback-bar", control: "control", cancel: undefined }[what]);
  }
}

function openWindow() {
  participantWindow = window.open(`/participant#${encodeURIComponent(shell.stream ?? "")}`, PARTICIPANT_WINDOW, "popup,width=1280,height=800");
  show();
}

part("open-window").addEventListener("click", openWindow);
part("decisions-resume").addEventListener("click", () => command(/** @type {HTMLElement} */ (part("decisions-resume").closest(".card")), () => send("POST", `/v1/streams/${encodeURIComponent(shell.stream ?? "")}/control/resume`)));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof HTMLElement && event.target.closest("input, select, textarea, dialog")) return;
  if (event.key === "n") guide.go();
  else if (event.key === "o" && status) openWindow();
  else return;
  event.preventDefault();
});

/** @param {number} now */
function frame(now) {
  frames(now);
  requestAnimationFrame(frame);
}

log.clear();
poll();
refreshSessions();
setInterval(() => document.hidden || poll(), POLL_MS);
setInterval(() => stream && signal.clock(stream.clock.state, markerUncertainty), 500);
requestAnimationFrame(frame);
