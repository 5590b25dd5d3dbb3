// The texts of the pages: the same keys and placeholders in each language, and none asked for that is not there.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const STATIC = new URL("../../service/mindwire/api/static/", import.meta.url);
const LANGUAGES = ["en", "de"];
const PARTS = readdirSync(new URL("js/texts/en/", STATIC));
const TEXT = /\btext\(\s*"([^"]+)"\s*[,)]/g;
const PLURAL = /\bplural\(\s*"([^"]+)"/g;
const BUILT = /\b(text|plural)\(\s*`([^`]+)`/g;
const ATTRIBUTE = /data-text(?:-label|-title|-placeholder)?(?:="|": ")([^"]+)"/g;

const load = async (path) => (await import(new URL(`js/texts/${path}`, STATIC))).default;
const placeholders = (value) => [...value.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
const whole = Object.fromEntries(await Promise.all(LANGUAGES.map(async (language) => [language, await load(`${language}.js`)])));

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return entry.name === "texts" ? [] : sources(new URL(`${entry.name}/`, folder));
    return /\.(js|html)$/.test(entry.name) ? [new URL(entry.name, folder)] : [];
  });
}

test("both languages have the same parts, keys and placeholders", () => {
  assert.deepEqual(readdirSync(new URL("js/texts/de/", STATIC)), PARTS);
  assert.deepEqual(Object.keys(whole.en).sort(), Object.keys(whole.de).sort());
  for (const [key, value] of Object.entries(whole.en)) assert.deepEqual(placeholders(whole.de[key]), placeholders(value), key);
});

test("no text is empty, and no key is in two parts", async () => {
  for (const language of LANGUAGES) {
    const seen = new Set();
    for (const part of PARTS) {
      for (const [key, value] of Object.entries(await load(`${language}/${part}`))) {
        assert.ok(typeof value === "string" && value.trim(), `${language}: ${key}`);
        assert.ok(!seen.has(key), `${language}: ${key} is in two parts`);
        seen.add(key);
      }
    }
    assert.deepEqual([...seen].sort(), Object.keys(whole[language]).sort(), "a part is missing in the dictionary");
  }
});

test("every key that a page or a module names exists", () => {
  for (const file of sources(STATIC)) {
    const content = readFileSync(file, "utf8");
    const keys = [...content.matchAll(TEXT), ...content.matchAll(ATTRIBUTE)].map(([, key]) => key);
    const plurals = [...content.matchAll(PLURAL)].flatMap(([, key]) => [`${key}.one`, `${key}.other`]);
    for (const key of [...keys, ...plurals]) assert.ok(Object.hasOwn(whole.en, key), `${file.pathname}: ${key}`);
  }
});

test("every key that is built from parts is that of a text at least", () => {
  const keys = Object.keys(whole.en);
  for (const file of sources(STATIC)) {
    for (const [, kind, built] of readFileSync(file, "utf8").matchAll(BUILT)) {
      const parts = built.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(".", "\\."));
      const pattern = new RegExp(`^${parts.join(".+")}${kind === "plural" ? "\\.other" : ""}$`);
      assert.ok(keys.some((key) => pattern.test(key)), `${file.pathname}: ${built}`);
    }
  }
});
