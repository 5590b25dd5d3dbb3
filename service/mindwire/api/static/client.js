// Mindwire's client for programs in a browser and in Node: predictions, decisions and events of a stream, LSL's clock, markers, commands.
//
//   import { connect } from "http://127.0.0.1:8000/client.js";
//   const stream = await connect("ws://127.0.0.1:8000/ws");
//   for await (const decision of stream.decisions()) if (decision.isFresh(500)) console.log(decision.class, decision.confidence);
//
// It goes on over every interruption and counts what it missed: docs/clients.md. The time of a marker is that of the frame in which the
// stimulus appears on the screen, in seconds of LSL's clock, and never that of its arrival: docs/clock.md.

export { Clock } from "./client/clock.js";
export {
  ClientError,
  ConnectionTimeoutError,
  ProtocolError,
  RefusedError,
  TokenError,
  UnknownStreamError,
  UnreachableError,
} from "./client/errors.js";
export { Messages } from "./client/iterators.js";
export { Markers } from "./client/markers.js";
export { Axes, Connection, Decision, Event, Hello, Missed, Prediction, Shadow } from "./client/messages.js";
export { Signal } from "./client/signal.js";
export { Stream, connect } from "./client/stream.js";
