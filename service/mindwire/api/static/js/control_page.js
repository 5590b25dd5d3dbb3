// The page of control: the last decision, evidence, state and axes, pause, and the choice along the frontier.

import { frames } from "./canvas.js";
import { Control } from "./control.js";
import { StreamFeed } from "./feed.js";
import { mountShell } from "./shell.js";

const QUIET_MS = 1500;

const shell = mountShell({ page: "control", onstream: () => feed.follow() });
const control = new Control(() => feed.askForToken());
let newestAt = -Infinity;

const feed = new StreamFeed(shell, {
  clear: () => control.clear(),
  message(message) {
    const now = performance.now();
    if (message.type === "prediction") {
      newestAt = now;
      control.add(message);
    } else if (message.type === "decision") control.decision(message, now);
    else if (message.type === "axes") control.axes(message, now);
    else if (message.type === "event" && message.kind === "control") control.changed(message.data);
    else if (message.type === "hello") {
      control.hello(message);
      document.title = `${message.stream} · Mindwire`;
    }
  },
  status: (mine) => control.recall(mine.control?.last, performance.now()),
  unreachable() {},
});

/** @param {number} now */
function frame(now) {
  control.silent = now - newestAt > QUIET_MS;
  control.frame(now);
  frames(now);
  requestAnimationFrame(frame);
}

feed.start();
requestAnimationFrame(frame);
