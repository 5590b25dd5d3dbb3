// The page: one stream at a time, its feeds, and one frame loop that draws what they brought.

import { frames } from "./canvas.js";
import { Eeg } from "./eeg.js";
import { Events } from "./events.js";
import { Latency } from "./latency.js";
import { Probabilities } from "./probabilities.js";
import { Feed, Unauthorised, adoptTokenFromAddress, get, setToken } from "./service.js";
import { Status, reasonsText } from "./status.js";

const POLL_MS = 2000;
const QUIET_MS = 1500;
const RATE_WINDOW_MS = 3000;

const $ = (id) => document.getElementById(id);
const probabilities = new Probabilities();
const latency = new Latency();
const eeg = new Eeg();
const events = new Events();
const status = new Status(select);

let selected = null;
let feeds = [];
let arrivals = [];
let newest = null;
let newestAt = -Infinity;
let connected = false;
let asking = false;

function link(state, text) {
  $("link").dataset.state = state;
  if ($("link-text").textContent !== text) $("link-text").textContent = text;
}

function select(name) {
  if (name === selected) return;
  selected = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  for (const feed of feeds) feed.close();
  for (const view of [probabilities, latency, eeg, events]) view.clear();
  forgetPredictions();
  connect();
  poll();
}

function forgetPredictions() {
  arrivals = [];
  newest = null;
  newestAt = -Infinity;
}

function connect() {
  const base = `/v1/streams/${encodeURIComponent(selected)}`;
  link("connecting", "Connecting");
  feeds = [
    new Feed(`${base}/predictions`, {
      open: () => {
        connected = true;
        link("open", "Connected");
        recall(selected);
      },
      text: take,
      lost: () => {
        connected = false;
        link("closed", "Reconnecting …");
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
  } else if (message.type === "event") {
    if (message.kind === "cue") probabilities.cue(message.data);
    else events.add(message);
    if (message.kind === "state") status.state(message.data.state, message.message);
  } else if (message.type === "hello") {
    forgetPredictions();
    probabilities.hello(message);
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
    if (name === selected) past.filter(({ kind }) => kind !== "cue").forEach((event) => events.add(event));
  } catch {
    // the feed is what matters; it says itself when it is lost
  }
}

async function poll() {
  try {
    const streams = await get("/v1/streams");
    if (!streams.length) link("closed", "No stream is configured");
    if (selected === null && streams.length) {
      const wanted = decodeURIComponent(location.hash.slice(1));
      select((streams.find(({ name }) => name === wanted) ?? streams[0]).name);
      return;
    }
    status.tabs(streams, selected);
    const mine = streams.find(({ name }) => name === selected);
    if (mine) {
      status.facts(mine);
      status.state(mine.state, mine.state_reason);
    }
  } catch (error) {
    if (error instanceof Unauthorised) askForToken();
    else if (selected === null) link("closed", "The service does not answer");
  }
}

function askForToken() {
  if (asking) return;
  asking = true;
  link("closed", "Token needed");
  $("token-dialog").showModal();
}

$("token-form").addEventListener("submit", async (submission) => {
  submission.preventDefault();
  setToken($("token").value);
  try {
    await get("/v1/streams");
  } catch {
    $("token-wrong").hidden = false;
    return;
  }
  asking = false;
  $("token-wrong").hidden = true;
  $("token-dialog").close();
  if (selected !== null) {
    for (const feed of feeds) feed.close();
    connect();
  }
  poll();
});

/** Whether what is on show may be believed, and the sentence that says why not. */
function doubt(now) {
  if (!connected) return selected === null ? null : ["Not connected", "The service does not answer; trying again."];
  if (newest === null || now - newestAt > QUIET_MS) return ["No predictions", $("reason").textContent];
  if (!newest.valid) return [`Not valid: ${reasonsText(newest.reasons)}`, ""];
  return null;
}

function showDoubt(now) {
  const why = doubt(now);
  probabilities.unsure = why !== null;
  $("invalid").hidden = why === null;
  $("valid").hidden = why !== null || newest === null;
  if (why === null) return;
  const [title, text] = why;
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
  for (const view of [probabilities, latency, eeg]) view.frame(now);
  frames(now);
  requestAnimationFrame(frame);
}

adoptTokenFromAddress();
requestAnimationFrame(frame);
setInterval(() => {
  if (document.hidden) return;
  showRate(performance.now());
  if (!asking) poll();
}, POLL_MS);
setInterval(() => !document.hidden && showRate(performance.now()), 500);
poll();
