// @ts-nocheck
/* eslint-disable no-shadow */
// The page: one stream at a time, its feeds, and one frame loop that draws what they brought.

import { frames } from "./canvas.js";
import { Control } from "./control.js";
import { Eeg } from "./eeg.js";
import { Events } from "./events.js";
import { Latency } from "./latency.js";
import { Probabilities } from "./probabilities.js";
import { Feed, Unauthorised, get } from "./service.js";
import { mountShell } from "./shell.js";
import { Status } from "./status.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";
import { reasonsText } from "./words.js";

const POLL_MS = 1000;
const QUIET_MS = 1500;
const RATE_WINDOW_MS = 3000;
const MARKS = new Set(["cue", "marker"]);
const UNSETTLED = new Set(["aligning", "settling", "gap", "clock_jump", "reconnect"]);

const $ = (id) => document.getElementById(id);
const shell = mountShell({ page: "live", onstream: select });
const probabilities = new Probabilities();
const latency = new Latency();
const eeg = new Eeg();
const events = new Events();
const status = new Status();
const control = new Control(askForToken);
const dialog = new TokenDialog(() => {
  if (shell.stream !== null) {
    for (const feed of feeds) feed.close();
    connect();
  }
  poll();
});

let feeds = [];
let arrivals = [];
let newest = null;
let newestAt = -Infinity;
let connected = false;
let known = null; // the stream's status, and when it came
let knownAt = 0;

function select() {
  for (const feed of feeds) feed.close();
  for (const view of [probabilities, latency, eeg, events, control]) view.clear();
  forgetPredictions();
  connect();
  poll();
}

function forgetPredictions() {
  arrivals = [];
  newest = null;
  newestAt = -Infinity;
  known = null;
}

function connect() {
  const name = shell.stream ?? "";
  const base = `/v1/streams/${encodeURIComponent(name)}`;
  shell.link("connecting", text("shell.connecting"));
  feeds = [
    new Feed(`${base}/predictions`, {
      open: () => {
        connected = true;
        shell.link("open", text("shell.connected"));
        recall(name);
      },
      text: take,
      lost: () => {
        connected = false;
        shell.link("closed", text("shell.reconnecting"));
        poll();
      },
      unauthorised: askForToken,
    }),
    new Feed(`${base}/signal`, {
      text: (message) => message.type === "hello" && eeg.hello(message),
      binary: (buffer) => eeg.add(buffer, performance.now()),
    }),
  ];
}

function take(message) {
  if (message.type === "prediction") {
    const now = performance.now();
    newest = message;
    newestAt = now;
    arrivals.push(now);
    if (arrivals.length > 4000) arrivals.shift(); // a hidden page draws nothing, but still hears
    probabilities.add(message, now);
    latency.add(message);
    control.add(message);
  } else if (message.type === "decision") {
    probabilities.decision(message);
    control.decision(message, performance.now());
  } else if (message.type === "axes") {
    control.axes(message, performance.now());
  } else if (message.type === "event") {
    if (MARKS.has(message.kind)) for (const view of [probabilities, eeg]) view.marker(message.data);
    else events.add(message);
    if (message.kind === "state") status.state(message.data.state, message.message);
    if (message.kind === "control") control.changed(message.data);
  } else if (message.type === "hello") {
    forgetPredictions();
    probabilities.hello(message);
    control.hello(message);
    document.title = `${message.stream} · Mindwire`;
    showNotice(message.model.notice);
  }
}

function showNotice(text) {
  $("notice").hidden = !text;
  $("notice-text").textContent = text ?? "";
}

/** What happened before this page was there. */
async function recall(name) {
  try {
    const past = await get(`/v1/streams/${encodeURIComponent(name)}/events`);
    if (name === shell.stream) events.add(...past.filter(({ kind }) => !MARKS.has(kind)));
  } catch {
    // the feed is what matters; it says itself when it is lost
  }
}

async function poll() {
  try {
    const streams = await get("/v1/streams");
    if (!streams.length) shell.link("closed", text("shell.no_stream"));
    shell.showStreams(streams);
    const mine = streams.find(({ name }) => name === shell.stream);
    if (mine) {
      known = mine;
      knownAt = performance.now();
      status.facts(mine);
      status.state(mine.state, mine.state_reason);
      eeg.quality(mine.quality);
      control.recall(mine.control?.last, knownAt);
    }
  } catch (error) {
    if (error instanceof Unauthorised) askForToken();
    else {
      shell.unreachable();
      status.unreachable();
    }
    if (shell.stream === null && !dialog.asking) shell.link("closed", text("shell.no_answer"));
  }
}

function askForToken() {
  shell.link("closed", text("shell.token_needed"));
  dialog.ask();
}

/** How long it still takes, counted down between two answers of the service. */
function remaining(now) {
  if (known?.valid_in_s == null) return "";
  const seconds = Math.ceil(known.valid_in_s - (now - knownAt) / 1000);
  return seconds > 0 ? `, ${seconds} s` : "";
}

/** Channels that have one of these reasons, in brackets; nothing where it is none or nearly all. */
function channelsWith(reasons) {
  const named = (known?.quality ?? []).filter((channel) => channel.reasons.some((reason) => reasons.includes(reason)));
  return named.length && named.length <= 6 ? ` (${named.map(({ label }) => label).join(", ")})` : "";
}

/** Why what is on show is not to be relied on: title, sentence, and whether nothing arrives at all; null when it is. */
function doubt(now) {
  if (!connected) return shell.stream === null ? null : ["Not connected", "The service does not answer; trying again.", true];
  const silent = newest === null || now - newestAt > QUIET_MS;
  if (silent && known?.state === "settling") return ["Warming up", `collecting signal for the first window${remaining(now)}`, false];
  if (silent) return ["No predictions", $("reason").textContent, true];
  if (newest.valid) return null;
  const text = reasonsText(newest.reasons);
  if (newest.reasons.every((reason) => UNSETTLED.has(reason))) return ["Warming up", text + remaining(now), false];
  return [`Not valid: ${text}${channelsWith(newest.reasons)}`, "", false];
}

function showDoubt(now) {
  const why = doubt(now);
  probabilities.unsure = why !== null;
  control.silent = why?.[2] ?? false;
  $("invalid").hidden = why === null;
  $("valid").hidden = why !== null || newest === null;
  $("reason").hidden = why !== null && why[1] === $("reason").textContent; // once is enough
  if (why === null) return;
  const [title, text, gone] = why;
  $("invalid").classList.toggle("gone", gone);
  if ($("invalid-title").textContent !== title) $("invalid-title").textContent = title;
  if ($("invalid-text").textContent !== text) $("invalid-text").textContent = text;
}

function showRate(now) {
  while (arrivals.length && arrivals[0] < now - RATE_WINDOW_MS) arrivals.shift();
  const span = arrivals.length > 1 ? (now - arrivals[0]) / 1000 : 0;
  const text = span > 0.5 ? (arrivals.length / span).toFixed(1) : "–";
  if ($("rate").textContent !== text) $("rate").textContent = text;
}

function frame(now) {
  showDoubt(now);
  probabilities.controlled = control.active;
  for (const view of [probabilities, latency, eeg, control]) view.frame(now);
  frames(now);
  requestAnimationFrame(frame);
}

requestAnimationFrame(frame);
setInterval(() => {
  if (document.hidden) return;
  showRate(performance.now());
  if (!dialog.asking) poll();
}, POLL_MS);
setInterval(() => !document.hidden && showRate(performance.now()), 500);
poll();
