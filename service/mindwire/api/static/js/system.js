// The page on which streams, recordings and adaptation are changed while the service runs.

import { AddStream } from "./add_stream.js";
import { Commands } from "./commands.js";
import { byId, element, write } from "./dom.js";
import { oneAtATime } from "./one_at_a_time.js";
import { Refused, Unauthorised, get, getText } from "./service.js";
import { mountShell } from "./shell.js";
import { StreamPanel } from "./stream_panel.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";

/** @typedef {import("./types.d.ts").StreamStatus} StreamStatus */

const POLL_MS = 2000;
const MODELS_EVERY = 3; // polls

const poll = oneAtATime(ask);
const shell = mountShell({ page: "system" });
const dialog = new TokenDialog(poll);
const commands = new Commands(dialog, async () => {
  polls = 0; // what was changed may be a model
  await poll();
});
const add = new AddStream(commands.run);
/** @type {Map<string, StreamPanel>} */
const panels = new Map();
let polls = 0;

/** @param {StreamStatus[]} streams */
function show(streams) {
  for (const [name, panel] of panels) {
    if (streams.some((stream) => stream.name === name)) continue;
    panel.remove();
    panels.delete(name);
  }
  for (const stream of streams) {
    let panel = panels.get(stream.name);
    if (!panel) {
      panel = new StreamPanel(stream.name, commands.run, streams.length === 1);
      panels.set(stream.name, panel);
      byId("panels").append(panel.node);
    }
    panel.show(stream);
  }
  write(byId("streams-count"), streams.length ? text("system.fresh", { fresh: streams.filter(({ ready }) => ready).length, all: streams.length }) : "");
  byId("no-streams").hidden = streams.length > 0;
}

async function ask() {
  if (dialog.asking) return;
  const withModels = polls % MODELS_EVERY === 0;
  polls += 1;
  try {
    /** @type {StreamStatus[]} */
    const streams = await get("/v1/streams");
    shell.link("open", text("shell.connected"));
    show(streams);
    if (withModels) add.models(await get("/v1/models"));
    await Promise.all([...panels.values()].map((panel) => panel.refresh()));
    await commands.showRights();
  } catch (error) {
    polls = 0;
    if (error instanceof Unauthorised) {
      shell.link("closed", text("shell.token_needed"));
      dialog.ask();
    } else {
      shell.link("closed", text("shell.no_answer"));
    }
  }
}

/** @param {(toml: string) => void} act */
async function settings(act) {
  byId("config-problem").hidden = true;
  try {
    act(await getText("/v1/config?format=toml"));
  } catch (error) {
    if (error instanceof Unauthorised) dialog.ask();
    byId("config-problem").textContent = error instanceof Refused ? error.message : text("shell.no_answer");
    byId("config-problem").hidden = false;
  }
}

byId("config-show").addEventListener("click", () => {
  const shown = !byId("config-text").hidden;
  byId("config-text").hidden = shown;
  byId("config-show").setAttribute("aria-expanded", String(!shown));
  write(byId("config-show"), shown ? text("system.show") : text("system.hide"));
  if (!shown) settings((toml) => write(byId("config-text"), toml));
});

byId("config-download").addEventListener("click", () =>
  settings((toml) => {
    const address = URL.createObjectURL(new Blob([toml], { type: "application/toml" }));
    element("a", { href: address, download: "mindwire.toml" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }),
);

poll();
setInterval(() => !document.hidden && poll(), POLL_MS);
