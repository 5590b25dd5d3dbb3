// One stream of the service: its messages, signal and status, and the token they need.

import { Signal, TokenError } from "../client.js";
import { Unauthorised, currentToken, follow, get } from "./service.js";
import { text } from "./texts.js";
import { TokenDialog } from "./token.js";

const POLL_MS = 1000;

/** @typedef {import("./types.d.ts").StreamStatus} StreamStatus */
/** @typedef {import("./types.d.ts").StreamEvent} StreamEvent */

/**
 * @typedef {object} View
 * @property {() => void} clear another stream is shown from now on
 * @property {import("./service.js").Callbacks} messages
 * @property {{hello: (hello: import("../client/signal.js").SignalHello) => void, block: (block: import("../client/signal.js").SignalBlock) => void}} [signal]
 * @property {(status: StreamStatus) => void} status once a second
 * @property {() => void} [unreachable] the service does not answer
 * @property {(events: StreamEvent[]) => void} [past] events from before the page was there
 */

export class StreamFeed {
  /** @type {import("../client.js").Stream | null} */
  #stream = null;
  /** @type {Signal | null} */
  #signal = null;
  #shell;
  #view;
  #dialog = new TokenDialog(() => {
    this.#connect();
    this.#poll();
  });

  /**
   * @param {import("./shell.js").Shell} shell whose stream is followed, once ``start`` is called
   * @param {View} view
   */
  constructor(shell, view) {
    this.#shell = shell;
    this.#view = view;
  }

  get connected() {
    return this.#stream?.connected ?? false;
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
    this.#stream?.close();
    this.#signal?.stop();
    this.#stream = this.#signal = null;
    const name = this.#shell.stream;
    if (name === null) return;
    this.#shell.link("connecting", text("shell.connecting"));
    const { messages, signal } = this.#view;
    const callbacks = { ...messages, connection: () => this.#connection(name) };
    this.#stream = follow(name, callbacks, (error) => (error instanceof TokenError ? this.askForToken() : this.#shell.link("closed", error.message)));
    if (!signal) return;
    this.#signal = new Signal({ stream: name, token: currentToken() });
    [this.#signal.onhello, this.#signal.onblock] = [signal.hello, signal.block];
  }

  /** The connection is there, or lost. @param {string} name of the stream */
  #connection(name) {
    if (this.connected) {
      this.#signal?.start();
      this.#shell.link("open", text("shell.connected"));
      this.#recall(name);
    } else {
      this.#signal?.stop(); // it may be dead without having said so
      this.#shell.link("closed", text("shell.reconnecting"));
      this.#poll();
    }
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
      // the connection says itself when it is lost
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
        this.#view.unreachable?.();
        if (shell.stream === null && !this.#dialog.asking) shell.link("closed", text("shell.no_answer"));
      }
    }
  }
}
