// The page /clock: the browser's clock beside the signal's, and the delay of the display by a photodiode or a microphone.

import { Clock, Markers } from "../client.js";
import { byId, fill, write } from "./dom.js";
import { Unauthorised, currentToken, get, send } from "./service.js";
import { mountShell } from "./shell.js";
import { language, text } from "./texts.js";
import { TokenDialog } from "./token.js";

const POLL_MS = 1000;
const SHOWN_EVERY_MS = 500;
const FLASHES = 20;
const ON_MS = 350;
const BETWEEN_MS = [600, 900]; // flashes come about once a second, far below what may harm
const AFTER_MS = 2500; // until samples of the last response have arrived
const BEEP_S = 0.06;
const BEEP_HZ = 1000;

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));
const digits = (/** @type {number} */ value, /** @type {number} */ places) => value.toLocaleString(language(), { minimumFractionDigits: places, maximumFractionDigits: places });

const shell = mountShell({ page: "clock", onstream: (name) => follow(name) });
const dialog = new TokenDialog(() => location.reload());
const clock = new Clock({ token: currentToken() });
const channelChoice = byId("channel", HTMLSelectElement);
/** @type {Map<string, string | null>} */
const kinds = new Map();
/** @type {Markers | null} */
let markers = null;
let running = false;

/** @param {string} name */
const delayPath = (name) => `/v1/streams/${encodeURIComponent(name)}/display_delay`;

/** @param {string} name */
function follow(name) {
  markers?.close();
  markers = new Markers(clock, { stream: name, token: currentToken() });
  markers.onrefused = problem;
  kinds.clear();
}

/** @param {string} why */
function problem(why) {
  byId("problem").hidden = !why;
  write(byId("problem"), why && text("clock.failed", { why }));
}

async function poll() {
  try {
    const streams = await get("/v1/streams");
    shell.showStreams(streams);
    shell.link("open", text("shell.connected"));
    if (shell.stream !== null && streams.length && !running) await showChannels(shell.stream);
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    shell.unreachable();
    shell.link("closed", text("shell.no_answer"));
  }
}

/** Offer the channels of the signal; the first that measures light or sound by its label is chosen. @param {string} name */
async function showChannels(name) {
  /** @type {{channels: {label: string, kind: string | null}[]}} */
  const { channels } = await get(delayPath(name));
  if (channels.length === kinds.size && channels.every(({ label }) => kinds.has(label))) return;
  kinds.clear();
  for (const { label, kind } of channels) kinds.set(label, kind);
  fill(channelChoice, [["", text("clock.channel.none")], ...channels.map(({ label }) => /** @type {[string, string]} */ ([label, label]))]);
  channelChoice.value = channels.find(({ kind }) => kind !== null)?.label ?? "";
}

function showState() {
  const { offset_s, drift_ppm, uncertainty_ms, round_trip_ms, samples } = clock.state;
  const ms = (/** @type {number | null} */ value) => (value === null ? text("clock.not_yet") : `${digits(value, 2)} ms`);
  write(byId("offset"), offset_s === null ? text("clock.not_yet") : `${digits(offset_s, 4)} s`);
  write(byId("uncertainty"), ms(uncertainty_ms));
  write(byId("round-trip"), ms(round_trip_ms));
  write(byId("drift"), `${digits(drift_ppm, 1)} ppm`);
  write(byId("samples"), samples.toLocaleString(language()));
  if (markers) write(byId("frame"), text("clock.frame.value", { ms: digits(markers.frame_ms, 1), hz: digits(1000 / markers.frame_ms, 0) }));
}

/** Turn the patch on or off, and mark the frame in which that is seen. @param {boolean} on */
const turn = (on) =>
  new Promise((resolve) => {
    requestAnimationFrame(() => {
      byId("patch").classList.toggle("on", on);
      resolve(markers ? markers.atPaint(on ? "patch_on" : "patch_off") : null);
    });
  });

/** Let a beep be heard soon, and mark it at the time at which the browser puts it out. @param {AudioContext} context */
function beep(context) {
  const at = context.currentTime + 0.1;
  const tone = new OscillatorNode(context, { frequency: BEEP_HZ });
  tone.connect(context.destination);
  tone.start(at);
  tone.stop(at + BEEP_S);
  const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp();
  const time = performanceTime ? performanceTime + 1000 * (at - contextTime) : performance.now() + 1000 * (at - context.currentTime + context.outputLatency);
  markers?.send("beep_on", clock.toLsl(time), clock.uncertaintyAt(time) + 1000 * (context.baseLatency + context.outputLatency));
}

/** @param {boolean} now */
function setRunning(now) {
  running = now;
  byId("start").hidden = now;
  byId("stop").hidden = !now;
  byId(now ? "stop" : "start").focus();
}

const isRunning = () => running;

/** Flash, beep and measure, until done or stopped. */
async function test() {
  const name = shell.stream;
  const channel = name === null ? "" : channelChoice.value;
  const marker = kinds.get(channel) === "sound" ? "beep_on" : "patch_on";
  const audible = byId("sound", HTMLInputElement).checked || marker === "beep_on";
  const context = audible ? new AudioContext() : null;
  for (const id of ["result", "meaning"]) byId(id).hidden = true;
  problem("");
  setRunning(true);
  try {
    write(byId("progress"), text("clock.waits"));
    if (name !== null) while (isRunning() && !clock.state.synchronised) await pause(50);
    if (name !== null && channel) await send("POST", delayPath(name), { channel, marker });
    for (let n = 1; isRunning() && n <= FLASHES; n += 1) {
      await pause(BETWEEN_MS[0] + Math.random() * (BETWEEN_MS[1] - BETWEEN_MS[0]));
      write(byId("progress"), name === null ? text("clock.no_stream") : text("clock.running", { n, of: FLASHES }));
      if (context) beep(context);
      await turn(true);
      await pause(ON_MS);
      await turn(false);
    }
    await markers?.flush();
    if (name !== null && channel) {
      if (isRunning()) await pause(AFTER_MS);
      const found = await send("DELETE", delayPath(name));
      if (isRunning()) showResult(found);
    }
    write(byId("progress"), text(running ? "clock.done" : "clock.stopped"));
  } catch (error) {
    write(byId("progress"), "");
    problem(error instanceof Error ? error.message : String(error));
  } finally {
    await context?.close();
    byId("patch").classList.remove("on");
    setRunning(false);
  }
}

/** @param {{channel: string, problem: string | null, delay_ms: {markers: number, responses: number, median: number, p05: number, p95: number} | null}} status */
function showResult({ channel, problem: why, delay_ms: found }) {
  if (why) throw new Error(why);
  if (!found) throw new Error(text("clock.no_response", { channel, n: FLASHES }));
  write(byId("delay"), `${digits(found.median, 1)} ms`);
  write(byId("range"), text("clock.range.value", { low: digits(found.p05, 1), high: digits(found.p95, 1) }));
  write(byId("responses"), text("clock.responses.value", { n: found.responses, of: found.markers }));
  for (const id of ["result", "meaning"]) byId(id).hidden = false;
}

byId("test").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) test();
});
byId("stop").addEventListener("click", () => (running = false));
addEventListener("keydown", ({ key }) => {
  if (key === "Escape") running = false;
});
clock.onjump((by) => write(byId("clock-jump"), text("clock.jump", { ms: digits(by, 1), time: new Date().toLocaleTimeString(language()) })));
clock.start();
setInterval(showState, SHOWN_EVERY_MS);
setInterval(() => !document.hidden && !dialog.asking && poll(), POLL_MS);
showState();
poll();
