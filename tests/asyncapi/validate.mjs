// Reads an AsyncAPI document from standard input and prints what the official parser finds, as JSON.

import { Parser } from "@asyncapi/parser";

let text = "";
for await (const part of process.stdin) text += part;
const { document, diagnostics } = await new Parser().parse(text);
const problems = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("."), severity }));
console.log(JSON.stringify({
  version: document?.version() ?? null,
  channels: document?.channels().all().map((channel) => channel.address()) ?? [],
  messages: document?.components().messages().all().map((message) => message.id()) ?? [],
  problems,
}));
