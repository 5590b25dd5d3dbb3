// Questions that do not overlap.

import assert from "node:assert/strict";
import { test } from "node:test";

const { oneAtATime } = await import("../../service/mindwire/api/static/js/one_at_a_time.js");

test("calls while it runs are answered by one more run, also after one that failed", async () => {
  const begun = [];
  const ask = oneAtATime(() => new Promise((done, fail) => begun.push({ done, fail })));
  const first = ask();
  const later = [ask(), ask(), ask()];
  assert.equal(begun.length, 1);
  begun[0].fail(new Error("refused"));
  await assert.rejects(first);
  assert.equal(begun.length, 2);
  begun[1].done();
  await Promise.all(later);
  const last = ask();
  assert.equal(begun.length, 3);
  begun[2].done();
  await last;
});
