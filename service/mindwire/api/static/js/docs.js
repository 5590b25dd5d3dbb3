// The API's own description, drawn from openapi.json and asyncapi.json; each operation of REST can be tried in place.

import { byId } from "./dom.js";
import { Unauthorised, get, setToken } from "./service.js";
import { mountShell } from "./shell.js";

/** @typedef {any} Schema part of openapi.json or asyncapi.json */
/** @typedef {Record<string, Schema>} Schemas */

const problem = byId("problem");

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [text]
 * @param {string} [className]
 */
function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/**
 * The type of a schema in a few words: ``array of StreamStatus``, ``number or null``.
 * @param {Schema} schema
 * @returns {string}
 */
function typeText(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeText).join(" or ");
  if (schema.type === "array") return `array of ${typeText(schema.items) || "anything"}`;
  if (schema.enum) return schema.enum.join(", ");
  if (schema.const !== undefined) return String(schema.const);
  return schema.type ?? "anything";
}

/**
 * @param {string} name
 * @param {Schema} schema
 */
function table(name, schema) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const text of [name, "type"]) head.append(element("th", text));
  const body = made.createTBody();
  for (const [field, type] of Object.entries(schema.properties ?? {})) {
    const row = body.insertRow();
    row.insertCell().append(element("code", field));
    row.insertCell().textContent = typeText(type);
  }
  return made;
}

/**
 * A request body to begin with: for each field its default, null where that is allowed, the first of its choices, or an empty text.
 * @param {Schema} schema
 * @param {Schemas} schemas
 * @returns {unknown}
 */
function example(schema, schemas) {
  if (schema.$ref) return example(schemas[schema.$ref.split("/").at(-1)] ?? {}, schemas);
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return schema.anyOf.some((/** @type {Schema} */ { type }) => type === "null") ? null : example(schema.anyOf[0], schemas);
  if (schema.type === "object") return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, part]) => [name, example(part, schemas)]));
  /** @type {Record<string, unknown>} */
  const empty = { integer: 0, number: 0, boolean: false, array: [] };
  return empty[schema.type] ?? "";
}

/**
 * @param {string} path
 * @param {string} verb
 * @param {Schema} operation
 * @param {Schemas} schemas
 */
function tryForm(path, verb, operation, schemas) {
  const form = element("form");
  const inputs = (operation.parameters ?? []).filter((/** @type {Schema} */ parameter) => parameter.in === "path").map((/** @type {{name: string}} */ { name }) => {
    const label = element("label", `${name} `);
    const input = element("input");
    input.name = name;
    input.required = true;
    label.append(input);
    form.append(label);
    return input;
  });
  const asked = operation.requestBody?.content?.["application/json"]?.schema;
  const body = asked ? element("textarea", JSON.stringify(example(asked, schemas), null, 2)) : null;
  if (body) {
    const label = element("label", "body ");
    body.rows = body.value.split("\n").length;
    body.spellcheck = false;
    label.append(body);
    form.append(label);
  }
  form.append(element("button", "Try it"));
  const output = element("pre");
  output.hidden = true;
  form.addEventListener("submit", async (submission) => {
    submission.preventDefault();
    const address = inputs.reduce((/** @type {string} */ text, /** @type {HTMLInputElement} */ { name, value }) => text.replace(`{${name}}`, encodeURIComponent(value)), path);
    output.hidden = false;
    try {
      output.textContent = await answerText(address, verb, body?.value);
    } catch (error) {
      output.textContent = error instanceof Error ? error.message : String(error);
    }
  });
  return [form, output];
}

/**
 * @param {string} address
 * @param {string} verb
 * @param {string} [body]
 */
async function answerText(address, verb, body) {
  const token = sessionStorage.getItem("mindwire-token");
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (verb !== "get") headers["Content-Type"] = "application/json";
  const answer = await fetch(address, { method: verb.toUpperCase(), headers, body });
  const text = await answer.text();
  const json = answer.headers.get("content-type")?.includes("json");
  return `${answer.status}\n${json ? JSON.stringify(JSON.parse(text), null, 2) : text}`;
}

/**
 * @param {string} path
 * @param {string} verb
 * @param {Schema} operation
 * @param {Schemas} schemas
 */
function describe(path, verb, operation, schemas) {
  const details = element("details");
  const summary = element("summary");
  const about = operation.description.split(/\n\n|(?<=\.)\s/)[0];
  summary.append(element("span", verb.toUpperCase(), `verb ${verb}`), element("code", path), element("span", about, "about"));
  details.append(summary);
  if (about !== operation.description) details.append(element("p", operation.description));
  const answer = operation.responses["200"]?.content?.["application/json"]?.schema;
  if (answer) {
    details.append(element("p", `Answers with ${typeText(answer)}.`));
    const name = typeText(answer).replace("array of ", "");
    if (schemas[name]) details.append(table(name, schemas[name]));
  }
  details.append(...tryForm(path, verb, operation, schemas));
  return details;
}

/**
 * A message of a websocket: what it says, and its fields.
 * @param {Schema} message
 * @param {Schemas} schemas
 */
function describeMessage(message, schemas) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("code", message.name), element("span", message.summary, "about"));
  const name = message.payload.$ref ? typeText(message.payload) : "";
  details.append(summary, name ? table(name, schemas[name]) : element("p", "Binary."));
  for (const rule of schemas[name]?.allOf ?? []) {
    const data = typeText(rule.then.properties.data);
    details.append(element("p", `data of the kind ${rule.if.properties.kind.const}: ${schemas[data].description}`), table(data, schemas[data]));
  }
  return details;
}

async function showWebsockets() {
  const { channels, components } = await get("/asyncapi.json");
  const described = Object.values(/** @type {Record<string, Schema>} */ (channels)).map(({ address, description, messages }) => {
    const details = element("details");
    const summary = element("summary");
    summary.append(element("code", address), element("span", description, "about"));
    const parts = Object.keys(messages).map((name) => describeMessage(components.messages[name], components.schemas));
    details.append(summary, ...parts);
    return details;
  });
  byId("channels").replaceChildren(...described);
}

async function show() {
  await showWebsockets();
  const { paths, components } = await get("/openapi.json");
  const operations = Object.entries(paths).flatMap(([path, verbs]) =>
    Object.entries(/** @type {Record<string, Schema>} */ (verbs)).map(([verb, operation]) => describe(path, verb, operation, components.schemas)));
  byId("operations").replaceChildren(...operations);
}

mountShell({ page: "docs" });
show().catch((error) => {
  if (!(error instanceof Unauthorised)) {
    problem.textContent = `The description could not be loaded: ${error.message}`;
    return;
  }
  problem.textContent = "This service asks for its token: ";
  const form = element("form");
  const input = element("input");
  input.type = "password";
  input.setAttribute("aria-label", "Token");
  form.append(input, element("button", "Show"));
  form.addEventListener("submit", (submission) => {
    submission.preventDefault();
    setToken(input.value);
    location.reload();
  });
  problem.append(form);
});
