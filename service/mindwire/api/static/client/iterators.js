// Iterators over messages, each with a bounded queue in which the newest wins.
//
// The connection is read whatever the user does; a slow user misses messages, which are counted.

import { ClientError } from "./errors.js";
import { Missed, make } from "./messages.js";

export const CAPACITY = 64;
const EXPENDABLE = new Set(["prediction", "axes", "shadow"]);

/** @typedef {import("./messages.js").AnyMessage} AnyMessage */
/** @typedef {import("./messages.js").Prediction} Prediction */

/**
 * @typedef {object} Loss predictions that were lost, after one that arrived
 * @property {number} n
 * @property {number | null} after
 * @property {number} dropped
 * @property {boolean} reconnected
 * @property {boolean} restarted
 */

/** @typedef {{message: AnyMessage, loss: Loss | null}} Entry a message, and for a prediction what was lost directly before it */

/**
 * @template M
 * @typedef {{resolve: (result: IteratorResult<M, undefined>) => void, reject: (error: Error) => void}} Waiting
 */

/** An earlier loss and a later one as one. @param {Loss | null} earlier @param {Loss | null} later @returns {Loss | null} */
function both(earlier, later) {
  if (!earlier || !later) return earlier ?? later;
  return {
    n: earlier.n + later.n,
    after: earlier.after,
    dropped: earlier.dropped + later.dropped,
    reconnected: earlier.reconnected || later.reconnected,
    restarted: earlier.restarted || later.restarted,
  };
}

/** The notice that goes before a prediction. @param {Loss} loss @param {Prediction} prediction */
export function missedBefore({ n, ...others }, prediction) {
  return make(Missed, { ...others, count: n, before: prediction.seq, received: prediction.received });
}

/**
 * Messages of a stream from the creation of the iterator on, for `for await`; made by the methods of a stream. When its queue is full, the
 * predictions and axes in it are dropped; decisions, events and notices are kept, and dropped only if nothing else is left, the oldest first.
 *
 * @template {AnyMessage} M
 * @implements {AsyncIterableIterator<M>}
 */
export class Messages {
  /** Messages that this program was too slow for. */
  dropped = 0;
  /** Predictions that were not delivered, for whatever reason. */
  missed = 0;
  #wanted;
  #notices;
  #capacity;
  #closed;
  /** @type {Entry[]} */
  #queue = [];
  /** Before predictions that are not wanted, since the last queued one. @type {Loss | null} */
  #leftOut = null;
  /** Dropped from the queue since the last delivered prediction. @type {Loss | null} */
  #lost = null;
  /** Follows the notice that was given. @type {AnyMessage | null} */
  #ready = null;
  /** `seq` of the last prediction that was delivered. @type {number | null} */
  #last = null;
  #ended = false;
  /** @type {Error | null} */
  #error = null;
  /** @type {Waiting<M>[]} */
  #waiting = [];

  /**
   * @param {(message: AnyMessage) => boolean} wanted
   * @param {{notices?: boolean, capacity?: number, closed?: () => void}} [options] `closed` is called when the user ends the iteration
   */
  constructor(wanted, { notices = false, capacity = CAPACITY, closed = () => {} } = {}) {
    if (!(capacity >= 1)) throw new ClientError(`Expected a capacity of at least 1 message, found ${capacity}; leave it out for ${CAPACITY}.`);
    this.#wanted = wanted;
    this.#notices = notices;
    this.#capacity = capacity;
    this.#closed = closed;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Wait for the next message. @returns {Promise<IteratorResult<M, undefined>>} */
  next() {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#serve();
    });
  }

  /** The next message, or null if none waits. */
  poll() {
    if (this.#waiting.length) return null;
    const message = this.#take();
    if (!message && this.#error) throw this.#error;
    return message;
  }

  /** End the iteration after what waits in the queue. */
  close() {
    this.#closed();
    this.end();
  }

  /** End the iteration at once, as `break` in a loop does. @returns {Promise<IteratorResult<M, undefined>>} */
  async return() {
    this.#queue = [];
    this.#ready = null;
    this.close();
    return { done: true, value: undefined };
  }

  /** Queue a message if it is one of those that are wanted; for the connection. @param {Entry} entry */
  offer({ message, loss }) {
    if (this.#ended) return;
    let entry = { message, loss };
    if (message.type === "prediction") {
      if (!this.#wanted(message) && this.#notices && loss) entry = { message: missedBefore(loss, message), loss: null };
      else {
        entry = { message, loss: both(this.#leftOut, loss) };
        this.#leftOut = null;
      }
    }
    if (!this.#wanted(entry.message)) {
      this.#leftOut = both(this.#leftOut, entry.loss);
      return;
    }
    if (this.#queue.length >= this.#capacity) this.#makeRoom();
    this.#queue.push(entry);
    this.#serve();
  }

  /** Give no more after what waits in the queue; then the error, if there is one; for the connection. @param {Error | null} [error] */
  end(error = null) {
    if (!this.#ended) [this.#ended, this.#error] = [true, error];
    this.#serve();
  }

  #serve() {
    while (this.#waiting.length) {
      const message = this.#take();
      if (!message && !this.#ended) return;
      const { resolve, reject } = /** @type {Waiting<M>} */ (this.#waiting.shift());
      if (message) resolve({ done: false, value: message });
      else if (this.#error) reject(this.#error);
      else resolve({ done: true, value: undefined });
    }
  }

  /** @returns {M | null} */
  #take() {
    const ready = this.#ready;
    this.#ready = null;
    return /** @type {M | null} */ (ready ?? this.#fromQueue());
  }

  /** @returns {AnyMessage | null} */
  #fromQueue() {
    const entry = this.#queue.shift();
    if (!entry) return null;
    const { message } = entry;
    if (message.type !== "prediction") return message;
    const loss = both(this.#lost, entry.loss);
    const after = this.#last;
    this.#lost = null;
    this.#last = message.seq;
    if (!loss) return message;
    this.missed += loss.n;
    if (!this.#notices) return message;
    this.#ready = message;
    return missedBefore({ ...loss, after: after ?? loss.after }, message);
  }

  #makeRoom() {
    const kept = this.#queue.filter(({ message }) => !EXPENDABLE.has(message.type));
    this.dropped += this.#queue.length - kept.length;
    for (const { message, loss } of this.#queue) {
      if (message.type !== "prediction") continue;
      this.#lost = both(this.#lost, both(loss, { n: 1, after: null, dropped: 1, reconnected: false, restarted: false }));
    }
    if (kept.length === this.#queue.length) {
      kept.shift();
      this.dropped += 1;
    }
    this.#queue = kept;
  }
}
