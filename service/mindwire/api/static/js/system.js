// @ts-nocheck
// The page on which streams, models, recordings and adaptation are changed while the service runs.

import { AddStream } from "./add_stream.js";
import { element, write } from "./dom.js";
import { Models } from "./models.js";
import { Refused, Unauthorised, get, getText } from "./service.js";
import { mountShell } from "./shell.js";
import { StreamPanel } from "./stream_panel.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";

const POLL_MS = 2000;
const MODELS_EVERY = 3; // polls

const $ = (id) => document.getElementById(id);
const shell = mountShell({ page: "system" });
const dialog = new TokenDialog(poll);
const panels = new Map();
let polls = 0;
let mayChange = true;

/** Carry out a command of a person: its buttons rest meanwhile, a refusal is shown in the service's words. */
async function command(place, act) {
  const problem = place.querySelector(".problem");
  const changes = [...place.querySelectorAll("[data-changes]")];
  problem.hidden = true;
  place.setAttribute("aria-busy", "true");
  for (const one of changes) one.disabled = true;
  try {
    await act();
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    problem.textContent = error instanceof Refused || error instanceof Unauthorised ? error.message : "The service does not answer; look whether the change was made.";
    problem.hidden = false;
  } finally {
    place.removeAttribute("aria-busy");
    for (const one of changes) one.disabled = !mayChange;
  }
  polls = 0; // what was changed may be a model
  await poll();
}

/** What the token allows; what it does not is disabled, and a sentence says why. */
async function showRights() {
  mayChange = (await get("/v1/access")).control;
  $("read-only").hidden = mayChange;
  for (const one of document.querySelectorAll("[data-changes]:not([aria-busy] *)")) {
    one.disabled = !mayChange;
    if (mayChange) one.removeAttribute("aria-describedby");
    else one.setAttribute("aria-describedby", "read-only");
  }
}

const models = new Models(command);
const add = new AddStream(command);

function show(streams) {
  for (const [name, panel] of panels) {
    if (streams.some((stream) => stream.name === name)) continue;
    panel.remove();
    panels.delete(name);
  }
  for (const stream of streams) {
    if (!panels.has(stream.name)) {
      const panel = new StreamPanel(stream.name, command, streams.length === 1);
      panels.set(stream.name, panel);
      $("panels").append(panel.node);
    }
    panels.get(stream.name).show(stream);
  }
  write($("streams-count"), streams.length ? `${streams.filter(({ ready }) => ready).length} of ${streams.length} with fresh predictions` : "");
  $("no-streams").hidden = streams.length > 0;
}

async function poll() {
  if (dialog.asking) return;
  try {
    const streams = await get("/v1/streams");
    shell.link("open", text("shell.connected"));
    show(streams);
    if (polls % MODELS_EVERY === 0) {
      const listed = await get("/v1/models");
      models.show(listed);
      add.models(listed);
      for (const panel of panels.values()) panel.models(listed);
    }
    await Promise.all([...panels.values()].map((panel) => panel.refresh()));
    await showRights();
    polls += 1;
  } catch (error) {
    if (error instanceof Unauthorised) {
      shell.link("closed", text("shell.token_needed"));
      dialog.ask();
    } else {
      shell.link("closed", text("shell.no_answer"));
    }
  }
}

async function settings(act) {
  $("config-problem").hidden = true;
  try {
    act(await getText("/v1/config?format=toml"));
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    $("config-problem").textContent = error instanceof Refused ? error.message : "The service does not answer.";
    $("config-problem").hidden = false;
  }
}

$("config-show").addEventListener("click", () => {
  const shown = !$("config-text").hidden;
  $("config-text").hidden = shown;
  $("config-show").setAttribute("aria-expanded", String(!shown));
  write($("config-show"), shown ? "Show" : "Hide");
  if (!shown) settings((toml) => write($("config-text"), toml));
});

$("config-download").addEventListener("click", () =>
  settings((toml) => {
    const address = URL.createObjectURL(new Blob([toml], { type: "application/toml" }));
    element("a", { href: address, download: "mindwire.toml" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }),
);

poll();
setInterval(() => !document.hidden && poll(), POLL_MS);
