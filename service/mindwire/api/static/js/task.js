// The task of a stream: its state in the service, and what is sent about it. Shared by the pages of participant and operator.

import { oneAtATime } from "./one_at_a_time.js";
import { Refused, Unauthorised, get, send } from "./service.js";

/**
 * @typedef {import("./participant/steps.js").Paradigm} Paradigm
 * @typedef {import("./participant/steps.js").Trial} Trial
 * @typedef {{index: number, label: string, outcome: "done" | "aborted", onset: number | null, result: Record<string, any> | null}} EndedTrial
 * @typedef {"none" | "ready" | "running" | "paused" | "done" | "aborted" | "interrupted"} State
 * @typedef {{number: number, participant: string, date: string, stream: string, paradigm: Paradigm, seed: number, state: State,
 *   plan: Trial[], trials: EndedTrial[], next: number | null, recordings: string[], problem: "page_lost" | "signal_lost" | "recording_lost" | "service_ended" | null}} TaskState
 */

const RETRY_MS = 1000;
/** The state of a stream without a task. */
export const NONE = /** @type {TaskState} */ (/** @type {unknown} */ ({ state: "none", plan: [], trials: [], next: null, recordings: [], problem: null }));
const OPEN = new Set(["ready", "running", "paused", "interrupted"]);

/** True while a task can go on. @param {TaskState} task */
export const isOpen = ({ state }) => OPEN.has(state);

/** Trials that count, and those of them that were decided, and decided right. @param {{trials: EndedTrial[]}} task */
export function scoreOf({ trials }) {
  const done = trials.filter(({ outcome, label }) => outcome === "done" && !label.startsWith("practice_"));
  const decided = done.filter(({ result }) => typeof result?.correct === "boolean");
  return {
    done: done.length,
    aborted: trials.filter(({ outcome }) => outcome === "aborted").length,
    decided: decided.length,
    right: decided.filter(({ result }) => result?.correct).length,
    attempts: done.filter(({ result }) => typeof result?.reached === "boolean").length,
    reached: done.filter(({ result }) => result?.reached === true).length,
  };
}

/**
 * Carry out a request until the service has answered it, or it is wanted no more; a refusal is thrown, an error of the service is not.
 * @param {() => Promise<unknown>} act
 * @param {() => boolean} [wanted]
 */
export async function deliver(act, wanted = () => true) {
  while (wanted()) {
    try {
      await act();
      return;
    } catch (error) {
      if ((error instanceof Refused && error.status < 500) || error instanceof Unauthorised) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

export class Task {
  #path;
  #changed;
  #commands = 0; // begun, and ended
  /** @type {TaskState} */
  state = NONE;
  /** Ask for the state. */
  refresh = oneAtATime(() => this.#ask());

  /** @param {string} stream @param {(state: TaskState) => void} changed called with each state */
  constructor(stream, changed) {
    this.#path = `/v1/streams/${encodeURIComponent(stream)}/task`;
    this.#changed = changed;
  }

  /** Ask for the state, and again if a command began or ended meanwhile: the answer may be older than the command's. */
  async #ask() {
    for (;;) {
      const commands = this.#commands;
      const state = await get(this.#path);
      if (commands === this.#commands) {
        this.#take(state);
        return;
      }
    }
  }

  /** Send a command and take the state that it leads to. @param {string} path @param {unknown} [body] */
  async #command(path, body) {
    this.#commands += 1;
    try {
      this.#take(await send("POST", path, body));
    } finally {
      this.#commands += 1;
    }
  }

  /** Begin a task. @param {{participant: string, paradigm: string | Paradigm, seed?: number}} wanted */
  async begin(wanted) {
    await this.#command(this.#path, wanted);
  }

  /** Say that the page of the participant is there: without that, a running task is paused. */
  async seen() {
    await send("POST", `${this.#path}/seen`);
  }

  /** @param {"pause" | "resume" | "abort" | "finish"} name */
  async command(name) {
    await this.#command(`${this.#path}/${name}`);
  }

  /** Report a trial. @param {{index: number, outcome: "done" | "aborted", onset: number | null, result: Record<string, unknown> | null}} ended */
  async report(ended) {
    const given = Object.fromEntries(Object.entries(ended).filter(([, value]) => value !== null));
    await deliver(() => this.#command(`${this.#path}/trial`, given));
  }

  /** @param {TaskState} state */
  #take(state) {
    this.state = state.state === "none" ? NONE : state;
    this.#changed(this.state);
  }
}
