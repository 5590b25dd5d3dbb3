// Messages of a stream, as the service sends them and as the client adds them; they cannot be changed.

import { ProtocolError } from "./errors.js";

export const PROTOCOL_VERSION = 1;

/** Base of all messages. */
class Message {
  /** `performance.now()` when the message arrived, ms. */
  received = NaN;
}

/** Base of messages that belong to one window of the signal. */
class Timed extends Message {
  /** Number of the window. */
  seq = NaN;
  /** LSL time of the window's last sample, s. */
  time = NaN;
  /** LSL's clock minus `performance.now()`, as it was measured when the message arrived, ms; NaN before the first measurement. */
  lsl_offset_ms = NaN;

  /** Milliseconds since the window's last sample, now; NaN where it cannot be known. */
  get ageMs() {
    const now = performance.now();
    if (!Number.isNaN(this.lsl_offset_ms)) return now + this.lsl_offset_ms - 1000 * this.time;
    return this.ageWhenReceivedMs() + now - this.received;
  }

  /** True if the message is at most `max_age_ms` old; false where that cannot be known. */
  isFresh(max_age_ms = 250) {
    return this.ageMs <= max_age_ms;
  }

  /** @protected */
  ageWhenReceivedMs() {
    return NaN;
  }
}

/** Class probabilities of one window. */
export class Prediction extends Timed {
  /** @type {"prediction"} */
  type = "prediction";
  /** Time of the window's last sample in seconds since 1970, by the service's clock. */
  unix_time = NaN;
  /** One per class in the order of `hello.classes`; NaN where the decoder gave no number. @type {number[]} */
  probabilities = [];
  /** True if the prediction can be trusted. */
  valid = false;
  /** Reasons for being invalid, or disturbances of a valid prediction. @type {string[]} */
  reasons = [];
  /** Milliseconds by stage. @type {Record<string, number>} */
  latency_ms = {};
  /** Accumulated posterior probabilities, with a control policy. @type {number[] | undefined} */
  evidence = undefined;
  /** State of the controller, with a control policy. @type {string | undefined} */
  control = undefined;

  /** @protected */
  ageWhenReceivedMs() {
    return Date.now() - (performance.now() - this.received) - 1000 * this.unix_time;
  }
}

/** A command: act on it once. */
export class Decision extends Timed {
  /** @type {"decision"} */
  type = "decision";
  class = "";
  /** Evidence of the class. */
  confidence = NaN;
  /** That of every class. @type {number[]} */
  evidence = [];
  /** Age when the service wrote the message, ms. @type {number | null} */
  age_ms = null;

  /** @protected */
  ageWhenReceivedMs() {
    return this.age_ms ?? NaN;
  }
}

/** Continuous outputs in [-1, 1] by the names of the axes, after each prediction. */
export class Axes extends Timed {
  /** @type {"axes"} */
  type = "axes";
  /** @type {Record<string, number>} */
  values = {};
}

/** Prediction of a model that runs in the shadow, with the class that it would have decided. */
export class Shadow extends Timed {
  /** @type {"shadow"} */
  type = "shadow";
  /** @type {number[]} */
  probabilities = [];
  valid = false;
  /** @type {string | undefined} */
  decision = undefined;
}

/** A change of state, a gap, a marker and so on: one sentence, and details. */
export class Event extends Message {
  /** @type {"event"} */
  type = "event";
  kind = "";
  stream = "";
  message = "";
  unix_time = NaN;
  /** @type {Record<string, any>} */
  data = {};
}

/** Description of a stream, first after each connection. */
export class Hello extends Message {
  /** @type {"hello"} */
  type = "hello";
  version = 0;
  stream = "";
  /** @type {string[]} */
  classes = [];
  /** Rate of the model, Hz. */
  sfreq = NaN;
  window_samples = 0;
  hop_samples = 0;
  /** A notice must be shown to the people who see the predictions. @type {{name: string, sha256: string, notice: string}} */
  model = { name: "", sha256: "", notice: "" };
  /** Null where nothing is decided. @type {{policy: Record<string, any>, hash: string, paused: boolean} | null} */
  control = null;
  /** @type {string[]} */
  channels = [];
  has_model = true;
  /** Another one whenever `seq` starts again; empty if the service does not state it. */
  instance = "";
}

/** Notice of the client: the connection was lost (with the reason), or is there again. */
export class Connection extends Message {
  /** @type {"connection"} */
  type = "connection";
  connected = false;
  reason = "";
}

/** Notice of the client, directly before a prediction: some before it were not delivered. */
export class Missed extends Message {
  /** @type {"missed"} */
  type = "missed";
  /**
   * Predictions between `after` and `before` that were not delivered. If the numbers started again, of the earlier ones only those are in it
   * that arrived and were dropped, because no number tells how many there were.
   */
  count = 0;
  /** `seq` of the last prediction that arrived before; null if there was none. @type {number | null} */
  after = null;
  /** `seq` of the prediction that follows. */
  before = NaN;
  /** Those of `count` that this program was too slow for. */
  dropped = 0;
  /** The connection was lost meanwhile. */
  reconnected = false;
  /** The numbers started again meanwhile, because the service or the stream did. */
  restarted = false;
}

/**
 * @typedef {object} MessageTypes by the name of their type
 * @property {Hello} hello
 * @property {Prediction} prediction
 * @property {Decision} decision
 * @property {Axes} axes
 * @property {Shadow} shadow
 * @property {Event} event
 * @property {Connection} connection
 * @property {Missed} missed
 */

/** @typedef {MessageTypes[keyof MessageTypes]} AnyMessage */

const SENT = { hello: Hello, prediction: Prediction, decision: Decision, axes: Axes, shadow: Shadow, event: Event };

/**
 * A message of a class with given fields.
 * @template {Message} M
 * @param {new () => M} Class
 * @param {object} fields
 * @returns {M}
 */
export const make = (Class, fields) => Object.freeze(Object.assign(new Class(), fields));

/** @param {any} content */
function isOfProtocol(content) {
  if (content.type === "hello") return Number.isInteger(content.version) && Array.isArray(content.classes);
  if (content.type === "event") return typeof content.kind === "string";
  if (!Number.isInteger(content.seq) || typeof content.time !== "number") return false;
  return content.type !== "prediction" || (Array.isArray(content.probabilities) && typeof content.valid === "boolean");
}

/**
 * A message of the service, from JSON text; null if it is of a type of a later version. JSON has no NaN: it is null in probabilities.
 * @param {unknown} text
 * @param {number} received `performance.now()`
 * @param {number} lsl_offset_ms
 */
export function decode(text, received, lsl_offset_ms) {
  const content = parsed(text);
  if (typeof content?.type !== "string") throw notOfProtocol(text);
  if (!Object.hasOwn(SENT, content.type)) return null;
  if (!isOfProtocol(content)) throw notOfProtocol(text);
  if (content.type === "prediction" || content.type === "shadow") {
    content.probabilities = content.probabilities?.map((/** @type {number | null} */ value) => value ?? NaN);
  }
  const known = /** @type {keyof typeof SENT} */ (content.type);
  const stamps = known === "hello" || known === "event" ? { received } : { received, lsl_offset_ms };
  return /** @type {Exclude<AnyMessage, Connection | Missed>} */ (make(/** @type {new () => Message} */ (SENT[known]), { ...content, ...stamps }));
}

/** @param {unknown} text @returns {any} */
function parsed(text) {
  try {
    return typeof text === "string" ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** @param {unknown} text */
const notOfProtocol = (text) =>
  new ProtocolError(`Expected a message of the Mindwire protocol, found ${String(text).slice(0, 100)}; check the address.`);
