// The package's files: those that the service sends as /client.js, which are its source, and their types.

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const SOURCE = path("../../service/mindwire/api/static/");
const TSC = path("../../tests/javascript/node_modules/.bin/tsc");

if (!existsSync(TSC)) throw new Error("The type checker is not installed; run npm ci in tests/javascript first.");
rmSync(path("dist"), { recursive: true, force: true });
cpSync(`${SOURCE}client.js`, path("dist/client.js"));
cpSync(`${SOURCE}client`, path("dist/client"), { recursive: true });
const options = "--allowJs --declaration --emitDeclarationOnly --target esnext --module esnext --moduleResolution bundler --lib esnext,dom,dom.iterable";
execFileSync(TSC, [path("dist/client.js"), ...options.split(" ")], { stdio: "inherit" });
