import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as F from "../../dashboard/js/format.js";
import { pairings, shelf } from "../../dashboard/js/kept.js";
import { read } from "../../dashboard/js/pairing.js";
import { search, ALL } from "../../dashboard/js/query.js";

const VECTORS = JSON.parse(readFileSync(new URL("../vectors/sealed.json", import.meta.url), "utf8"));
// What touches a page is not there; what only reads is.
globalThis.localStorage ??= /** @type {any} */ ({ getItem: () => null, setItem() {}, removeItem() {} });
const { keyOf, opened, opener } = await import("../../dashboard/js/sealed.js");
const settle = () => new Promise((ok) => setTimeout(ok, 20));

test("every sealed name of the vectors opens to its text, and to no other kind's", async () => {
  for (const v of VECTORS) {
    const key = await keyOf(v.seal_key);
    assert.equal(await opened(v.kind, v.sealed, key), v.text);
    await assert.rejects(opened(v.kind === "title" ? "project" : "title", v.sealed, key));
  }
});
test("a sealed name that was changed, or cut, opens to nothing", async () => {
  const { seal_key, kind, sealed } = VECTORS[0], key = await keyOf(seal_key);
  for (const wrong of [sealed.slice(0, -2), sealed.slice(0, 20) + (sealed[20] === "A" ? "B" : "A") + sealed.slice(21), "sealed1.", "sealed1.***"]) await assert.rejects(opened(kind, wrong, key));
});
test("a state is shown with the names that could be opened, and stays as it is where none could", async () => {
  const one = VECTORS.find((v) => v.kind === "project"), other = "sealed1." + "A".repeat(60);
  let news = 0;
  const open = opener([keyOf(one.seal_key)], () => news++), row = { title: other, project: one.sealed, git_branch: null };
  assert.equal(open.sessions([row])[0].project, one.sealed);
  await settle();
  assert.equal(news, 1);
  assert.deepEqual(open.sessions([row]), [{ title: other, project: one.text, git_branch: null }]);
  assert.equal(open.sessions([row])[0], open.sessions([row])[0], "the same object, so that its row is not drawn again");
  assert.deepEqual(open.summary({ days: [{ date: "d", projects: { [one.sealed]: [1, 2], plain: [3, 4] } }], projects: [one.sealed] }), { days: [{ date: "d", projects: { [one.text]: [1, 2], plain: [3, 4] } }], projects: [one.text] });
  assert.equal(open.project(one.text), one.sealed);
  assert.equal(open.project("plain"), "plain");
});
test("two projects that a browser cannot open stay two", () => {
  assert.equal(F.label("sealed1.abcdefgh"), "sealed abcd");
  assert.equal(F.label("a name"), "a name");
  assert.deepEqual(search([{ title: "sealed1.abc", id: "1" }], { ...ALL, q: "abc" }), [], "nobody finds a session by letters that mean nothing");
});
test("a link may bring the key to names, with a read key or alone, and only whole", () => {
  const key = "sr_read_abcdefgh2345_secret1234567890_0badc0de", seal = VECTORS[0].seal_key, self = "https://r/";
  assert.deepEqual(read(`#key=${key}&seal=${seal}`, self), { relay: self, key, name: "", seal });
  assert.deepEqual(read(`${self}#seal=${seal}`, self), { relay: self, key: "", name: "", seal });
  assert.match(/** @type {string} */ (read(`#key=${key}&seal=short`, self)), /not whole/);
});
test("a key that comes again without its seal keeps the one it had", () => {
  const kept = new Map(), storage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) }, pairs = pairings(shelf(() => storage));
  pairs.add({ relay: "r", key: "k", name: "", seal: "s" });
  pairs.add({ relay: "r", key: "k", name: "" });
  assert.equal(pairs.current()?.seal, "s");
  pairs.forget(/** @type {any} */ (pairs.current()));
  assert.ok(!JSON.stringify([...kept.values()]).includes('"s"'));
});
