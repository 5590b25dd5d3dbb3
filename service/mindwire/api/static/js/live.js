// The live page: one stream at a time, and one frame loop that draws what it brought.

import { frames } from "./canvas.js";
import { byId, write } from "./dom.js";
import { Eeg } from "./eeg.js";
import { Erd } from "./erd.js";
import { Events } from "./events.js";
import { StreamFeed } from "./feed.js";
import { Latency } from "./latency.js";
import { Probabilities } from "./probabilities.js";
import { QualityMap } from "./quality_map.js";
import { ShadowLine } from "./shadow_line.js";
import { mountShell } from "./shell.js";
import { SignalStore } from "./signal_store.js";
import { Spectrum } from "./spectrum.js";
import { Status } from "./status.js";
import { text } from "./texts.js";
import { ago, className, fixed, percent, reasonsText } from "./words.js";

/** @typedef {import("../client.js").Prediction} Prediction */

const QUIET_MS = 1500;
const RATE_WINDOW_MS = 3000;
const SLOWLY_MS = 250;
const MARKS = new Set(["cue", "marker"]);
const UNSETTLED = new Set(["aligning", "settling", "gap", "clock_jump", "reconnect"]);

const shell = mountShell({ page: "live", onstream: () => feed.follow() });
const store = new SignalStore();
const probabilities = new Probabilities();
const latency = new Latency();
const eeg = new Eeg(store);
const spectrum = new Spectrum(store);
const quality = new QualityMap(store, spectrum);
const erd = new Erd(store);
const events = new Events();
const status = new Status();
const shadow = new ShadowLine();

/** @type {number[]} */
let arrivals = [];
/** @type {Prediction | null} */
let newest = null;
let signalAt = -Infinity;
let slowlyAt = 0;
/** @type {import("./types.d.ts").StreamStatus | null} */
let known = null; // the stream's status, and when it came
let knownAt = 0;
/** @type {{name: string, confidence: number, madeAt: number} | null} */
let decided = null;

const feed = new StreamFeed(shell, {
  clear() {
    store.clear();
    for (const view of [probabilities, latency, eeg, events, quality, shadow]) view.clear();
    erd.begin();
    signalAt = -Infinity;
    decided = null;
    forgetPredictions();
  },
  messages: {
    hello,
    prediction(prediction) {
      newest = prediction;
      arrivals.push(prediction.received);
      if (arrivals.length > 4000) arrivals.shift(); // a hidden page draws nothing, but still receives
      if (prediction.probabilities.length) probabilities.add(prediction);
      latency.add(prediction);
    },
    shadow: (prediction) => probabilities.shadow(prediction),
    decision(decision) {
      probabilities.decision(decision);
      events.decision(decision);
      decided = { name: decision.class, confidence: decision.confidence, madeAt: decision.received - (decision.age_ms ?? 0) };
    },
    axes: (values) => probabilities.axisValues(values),
    event,
  },
  signal: {
    hello(description) {
      store.begin(description);
      for (const view of [eeg, spectrum, quality, erd]) view.begin();
    },
    block(block) {
      if (!store.add(block)) return;
      signalAt = performance.now();
      eeg.added();
      spectrum.added();
      erd.added();
    },
  },
  status(mine) {
    known = mine;
    knownAt = performance.now();
    status.facts(mine);
    status.state(mine.state, mine.state_reason);
    eeg.quality(mine.quality);
    quality.quality(mine.quality);
    quality.powers();
    const last = mine.control?.last;
    if (last && decided === null) decided = { name: last.class, confidence: last.confidence, madeAt: knownAt - last.age_s * 1000 };
    shadow.refresh(mine);
  },
  unreachable: () => status.unreachable(),
  past: (past) => events.add(...past.filter(({ kind }) => !MARKS.has(kind))),
});

function forgetPredictions() {
  arrivals = [];
  newest = null;
  known = null;
}

/** @param {import("../client.js").Hello} description */
function hello({ stream, classes, control, has_model: hasModel, model }) {
  forgetPredictions();
  probabilities.hello(classes);
  probabilities.control(/** @type {import("./types.d.ts").Policy | null} */ (control?.policy ?? null));
  erd.classes(classes);
  byId("without-model").hidden = hasModel;
  byId("no-control").hidden = control !== null || !hasModel;
  document.title = `${stream} · Mindwire`;
  showNotice(model.notice);
}

/** @param {import("../client.js").Event} happened */
function event(happened) {
  const { kind, data, message } = happened;
  if (kind !== "clock" || data.jump) events.add(happened); // the clock of a client is reported every few seconds
  if (MARKS.has(kind)) for (const view of [probabilities, eeg, erd]) view.marker({ label: data.label, time: data.time });
  if (kind === "state") status.state(data.state, message);
  if (kind === "control" && data.policy) {
    probabilities.control(data.policy);
    byId("no-control").hidden = true;
  }
}

/** @param {string} sentence */
function showNotice(sentence) {
  byId("notice").hidden = !sentence;
  write(byId("notice-text"), sentence);
}

/**
 * How long it still takes, counted down between two answers of the service.
 * @param {number} now
 */
function remaining(now) {
  if (known?.valid_in_s == null) return "";
  const seconds = Math.ceil(known.valid_in_s - (now - knownAt) / 1000);
  return seconds > 0 ? `, ${seconds} s` : "";
}

/**
 * Channels that have one of these reasons, in brackets; nothing where it is none or nearly all.
 * @param {string[]} reasons
 */
function channelsWith(reasons) {
  const named = (known?.quality ?? []).filter((channel) => channel.reasons.some((reason) => reasons.includes(reason)));
  return named.length && named.length <= 6 ? ` (${named.map(({ label }) => label).join(", ")})` : "";
}

/**
 * Why what is shown is not to be relied on: title, sentence, and true if nothing arrives at all; null when it is.
 * @param {number} now
 * @returns {[string, string, boolean] | null}
 */
function doubt(now) {
  if (!feed.connected) return shell.stream === null ? null : [text("live.not_connected"), text("live.trying_again"), true];
  const quiet = newest === null || now - newest.received > QUIET_MS;
  if (quiet && known?.state === "settling") return [text("live.warming_up"), text("live.collecting", { wait: remaining(now) }), false];
  if (newest === null || quiet) return [text("live.no_predictions"), byId("reason").textContent ?? "", true];
  if (newest.valid) return null;
  if (newest.reasons.includes("no_model")) return null; // a sentence of its own says so
  const reasons = reasonsText(newest.reasons);
  if (newest.reasons.every((reason) => UNSETTLED.has(reason))) return [text("live.warming_up"), reasons + remaining(now), false];
  return [text("live.not_valid", { reasons: reasons + channelsWith(newest.reasons) }), "", false];
}

/** @param {number} now */
function showDoubt(now) {
  const why = doubt(now);
  probabilities.unsure = why !== null;
  byId("invalid").hidden = why === null;
  byId("valid").hidden = why !== null || newest === null || !newest.valid;
  byId("reason").hidden = why !== null && why[1] === byId("reason").textContent; // once is enough
  if (why === null) return;
  const [title, sentence, gone] = why;
  byId("invalid").classList.toggle("gone", gone);
  write(byId("invalid-title"), title);
  write(byId("invalid-text"), sentence);
}

/** @param {number} now */
function showRate(now) {
  while (arrivals.length && arrivals[0] < now - RATE_WINDOW_MS) arrivals.shift();
  const span = arrivals.length > 1 ? (now - arrivals[0]) / 1000 : 0;
  write(byId("rate"), span > 0.5 ? fixed(arrivals.length / span, 1) : "–");
}

/** @param {number} now */
function showDecision(now) {
  const line = byId("last-decision");
  line.hidden = decided === null;
  if (decided) write(line, text("live.last_decision", { name: className(decided.name), confidence: percent(decided.confidence), age: ago(Math.max(0, now - decided.madeAt) / 1000) }));
}

/**
 * Grey what is old, and give its age.
 * @param {string} id of the card
 * @param {number} at when it was news
 * @param {number} now
 */
function showAge(id, at, now) {
  const old = Number.isFinite(at) && now - at > QUIET_MS;
  const card = byId(id);
  card.classList.toggle("old", old);
  const age = card.querySelector(".age");
  if (age) write(age, old ? text("live.old", { age: ago((now - at) / 1000) }) : "");
}

/** @param {number} now */
function slowly(now) {
  slowlyAt = now;
  showDoubt(now);
  showRate(now);
  showDecision(now);
  showAge("predictions", newest?.received ?? -Infinity, now);
  for (const id of ["eeg-card", "scalp-card", "spectrum-card", "erd-card"]) showAge(id, signalAt, now);
}

/** @param {number} now */
function frame(now) {
  if (now - slowlyAt > SLOWLY_MS) slowly(now);
  for (const view of [probabilities, latency, eeg]) view.frame(now);
  frames(now);
  requestAnimationFrame(frame);
}

feed.start();
requestAnimationFrame(frame);
