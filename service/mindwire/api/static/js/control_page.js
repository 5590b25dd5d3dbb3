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
  messages: {
    hello(hello) {
      control.hello(hello);
      document.title = `${hello.stream} · Mindwire`;
    },
    prediction(prediction) {
      newestAt = prediction.received;
      control.add(prediction);
    },
    decision: (decision) => control.decision(decision),
    axes: (axes) => control.axes(axes),
    event: ({ kind, data }) => kind === "control" && control.changed(data),
  },
  status: (mine) => control.recall(mine.control?.last, performance.now()),
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
