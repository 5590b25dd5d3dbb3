// One stream of the service: its two feeds, its status, and the token they need. Comes back by itself.

import { Feed, Unauthorised, get } from "./service.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";

const POLL_MS = 1000;

/** @typedef {import("./types.d.ts").StreamStatus} StreamStatus */
/** @typedef {import("./types.d.ts").StreamEvent} StreamEvent */

/**
 * @typedef {object} View
 * @property {() => void} clear another stream is shown from now on
 * @property {(message: import("./types.d.ts").Message) => void} message
 * @property {(hello: import("./types.d.ts").SignalHello) => void} [signalHello]
 * @property {(block: ArrayBuffer) => void} [signal]
 * @property {(status: StreamStatus) => void} status once a second
 * @property {() => void} unreachable the service does not answer
 * @property {(events: StreamEvent[]) => void} [past] events from before the page was there
 */

export class StreamFeed {
  /** @type {Feed[]} */
  #feeds = [];
  #shell;
  #view;
  #dialog = new TokenDialog(() => {
    this.#connect();
    this.#poll();
  });
  connected = false;

  /**
   * @param {import("./shell.js").Shell} shell whose stream is followed, once ``start`` is called
   * @param {View} view
   */
  constructor(shell, view) {
    this.#shell = shell;
    this.#view = view;
  }

  start() {
    this.#poll();
    setInterval(() => {
      if (!document.hidden && !this.#dialog.asking) this.#poll();
    }, POLL_MS);
  }

  /** Follow the stream that was chosen. */
  follow() {
    this.#view.clear();
    this.#connect();
    this.#poll();
  }

  askForToken() {
    this.#shell.link("closed", text("shell.token_needed"));
    this.#dialog.ask();
  }

  #connect() {
    for (const feed of this.#feeds) feed.close();
    this.#feeds = [];
    this.connected = false;
    const name = this.#shell.stream;
    if (name === null) return;
    const base = `/v1/streams/${encodeURIComponent(name)}`;
    this.#shell.link("connecting", text("shell.connecting"));
    this.#feeds.push(
      new Feed(`${base}/predictions`, {
        open: () => {
          this.connected = true;
          this.#shell.link("open", text("shell.connected"));
          this.#recall(name);
        },
        text: (message) => this.#view.message(message),
        lost: () => {
          this.connected = false;
          this.#shell.link("closed", text("shell.reconnecting"));
          this.#poll();
        },
        unauthorised: () => this.askForToken(),
      }),
    );
    const { signalHello, signal } = this.#view;
    if (!signalHello) return;
    this.#feeds.push(new Feed(`${base}/signal`, { text: (message) => message.type === "hello" && signalHello(message), binary: signal }));
  }

  /**
   * What happened before this page was there.
   * @param {string} name
   */
  async #recall(name) {
    if (!this.#view.past) return;
    try {
      const events = await get(`/v1/streams/${encodeURIComponent(name)}/events`);
      if (name === this.#shell.stream) this.#view.past(events);
    } catch {
      // the feed is what matters; it says itself when it is lost
    }
  }

  async #poll() {
    const shell = this.#shell;
    try {
      /** @type {StreamStatus[]} */
      const streams = await get("/v1/streams");
      if (!streams.length) shell.link("closed", text("shell.no_stream"));
      shell.showStreams(streams);
      const mine = streams.find(({ name }) => name === shell.stream);
      if (mine) this.#view.status(mine);
    } catch (error) {
      if (error instanceof Unauthorised) this.askForToken();
      else {
        shell.unreachable();
        this.#view.unreachable();
        if (shell.stream === null && !this.#dialog.asking) shell.link("closed", text("shell.no_answer"));
      }
    }
  }
}
