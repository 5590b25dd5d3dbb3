// The messages of a stream, one for each line on stdin, as JSON lines on stdout; "null" where none comes within a second.
//
//   node --experimental-websocket messages_on_demand.js HOST:PORT [OPTIONS OF connect() AS JSON] [CAPACITY]
//
// A program that asks for nothing is a slow user.

import { createInterface } from "node:readline";
import { connect } from "../../service/mindwire/api/static/client.js";

const WAIT_MS = 1000;
const [address, options = "{}", capacity = "64"] = process.argv.slice(2);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const fail = ({ name, message }) => say({ type: "error", name, message });

try {
  const stream = await connect(address, JSON.parse(options));
  const messages = stream.messages(undefined, { capacity: Number(capacity) });
  say(stream.hello);
  let pending = null;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "close") break;
    pending ??= messages.next().then(({ value }) => value, fail);
    let timer;
    const over = new Promise((resolve) => (timer = setTimeout(resolve, WAIT_MS, null)));
    const message = await Promise.race([pending, over]);
    clearTimeout(timer);
    if (message !== null) pending = null;
    if (message !== undefined || !stream.connected) say(message ?? null);
  }
  await stream.close();
} catch (error) {
  fail(error);
}
