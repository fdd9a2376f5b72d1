import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as F from "../../dashboard/js/format.js";
import { modelColours, modelName, toolName } from "../../dashboard/js/format.js";
import { apply, nothing, reporting, session, toKeep } from "../../dashboard/js/feed.js";
import { pairings, shelf } from "../../dashboard/js/kept.js";
import { baseOf, read } from "../../dashboard/js/pairing.js";
import { ALL, asked, search, union } from "../../dashboard/js/query.js";
import { scale, share, step, verdict } from "../../dashboard/js/scale.js";
import { move } from "../../dashboard/js/sample.js";

test("numbers are short, and never change their unit by rounding", () => {
  assert.deepEqual([0, 999, 999.6, 1284113, 999_600, 10_000_000, 4.63e9, null].map(F.tokens), ["0", "999", "1.00k", "1.28M", "1.00M", "10.0M", "4.63B", "–"]);
});
test("money that is not known is a dash, and a little is not nothing", () => {
  assert.deepEqual([0, 0.001, 1.005, 999.99, 999.996, 12345.6, 999_999.4, 999_999.6, 12_345_678, null, undefined, NaN].map(F.money), ["$0.00", "<$0.01", "$1.00", "$999.99", "$1,000", "$12,346", "$999,999", "$1.00M", "$12.3M", "–", "–", "–"]);
});
test("what is not all is never told as all, nor a little as nothing", () => {
  assert.deepEqual([0, 0.2, 0.7, 58.4, 99.4, 99.6, 99.99, 100, 100.4, 163.5, null].map(F.pct), ["0%", "<1%", "1%", "58%", "99%", "99%", "99%", "100%", "100%", "164%", "–"]);
});
test("lengths of time read as people say them", () => {
  assert.deepEqual([0, 20_000, 59_000, 8040000, 5 * F.HOUR, 50 * F.HOUR, 40 * F.DAY].map(F.span), ["<1m", "<1m", "1m", "2h 14m", "5h", "2d 2h", "40d"]);
  assert.deepEqual([0, 5000, 61_000, 7.2e6, 4 * F.DAY].map(F.ago), ["now", "5s ago", "1m ago", "2h ago", "4d ago"]);
});
test("a date is a plain date in every zone", () => {
  assert.equal(F.shiftDate("2026-03-01", -1), "2026-02-28");
  assert.equal(F.shiftDate("2024-02-28", 1), "2024-02-29");
  assert.equal(F.dayName("2026-11-14"), "Sat 14 Nov");
});
test("models have the names people use", () => {
  const names = { "claude-opus-4-1-20250805": "Opus 4.1", "claude-3-5-sonnet-20241022": "Sonnet 3.5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0": "Sonnet 4.5", "anthropic/claude-opus-4.5": "Opus 4.5", "gpt-5.1-codex": "GPT-5.1 codex", "gemini-2.5-pro": "gemini-2.5-pro", "<img src=x></b>": "<img src=x></b>", "": "Unknown" };
  for (const [id, name] of Object.entries(names)) assert.equal(modelName(id), name);
  assert.equal(toolName("claude_code"), "Claude Code");
  assert.equal(toolName("my_tool"), "My tool");
});
test("sixty models get five colours and grey", () => {
  const many = Array.from({ length: 60 }, (_, i) => `claude-${["opus", "sonnet", "haiku"][i % 3]}-${i}`);
  const colours = [...modelColours(many).values()];
  assert.equal(new Set(colours).size, 6);
  assert.equal(colours.filter((c) => c === "other").length, 55);
});

const rec = (key, at, more = {}) => ({ kind: "session", source: "a", key, value: { key, id: key, source: "a", last_activity: at, ...more } });
test("a feed continues the state, or is refused", () => {
  const one = apply(nothing(), { full: true, cursor: "1", records: [rec("x", "2026-01-01T00:00:00Z")], summary: { block: null, totals: 1 } });
  const two = apply(one, { since: "1", cursor: "2", records: [rec("y", "2026-01-02T00:00:00Z")], summary: { totals: 2 } });
  assert.deepEqual(two.sessions.map((s) => s.key), ["y", "x"]);
  assert.deepEqual(two.summary, { block: null, totals: 2 });
  assert.equal(apply(two, { since: "1", cursor: "3" }), null);
});
test("changed days take their places among the others", () => {
  const one = apply(nothing(), { full: true, cursor: "1", summary: { days: [{ date: "2026-01-01", cost: 1 }, { date: "2026-01-03", cost: 3 }] } });
  const two = apply(one, { since: "1", cursor: "2", summary: { days_changed: [{ date: "2026-01-03", cost: 4 }, { date: "2026-01-04", cost: 1 }] } });
  assert.deepEqual(two.summary, { days: [{ date: "2026-01-01", cost: 1 }, { date: "2026-01-03", cost: 4 }, { date: "2026-01-04", cost: 1 }] });
});
test("a session that moves to another machine in one feed stays once", () => {
  const one = apply(nothing(), { full: true, cursor: "1", records: [rec("x", "2026-01-01T00:00:00Z")] });
  const two = apply(one, { since: "1", cursor: "2", records: [{ ...rec("x", "2026-01-02T00:00:00Z"), source: "b" }], removed: [{ kind: "session", source: "a", key: "x" }] });
  assert.deepEqual(two.sessions.map((s) => [s.key, s.last]), [["x", Date.parse("2026-01-02T00:00:00Z")]]);
  const three = apply(two, { since: "2", cursor: "3", removed: [{ kind: "session", source: "elsewhere", key: "x" }] });
  assert.equal(three.sessions.length, 1 - Number(three.sessions[0]?.source === "elsewhere"));
});
test("a source that starts anew is forgotten first", () => {
  const one = apply(nothing(), { full: true, cursor: "1", records: [rec("x", "2026-01-01T00:00:00Z"), { ...rec("z", "2026-01-01T00:00:00Z"), value: { key: "z", source: "b" }, source: "b" }] });
  const two = apply(one, { since: "1", cursor: "2", reset: ["a"], records: [rec("y", "2026-01-01T00:00:00Z")] });
  assert.deepEqual(two.sessions.map((s) => s.key).sort(), ["y", "z"]);
});
test("active sessions come first, then the newest", () => {
  const s = apply(nothing(), { full: true, records: [rec("old", "2026-01-01T00:00:00Z"), rec("new", "2026-01-03T00:00:00Z"), rec("active", "2026-01-02T00:00:00Z", { is_active: true })] });
  assert.deepEqual(s.sessions.map((x) => x.key), ["active", "new", "old"]);
});
test("what is kept for the next visit has no cursor and at most 500 sessions", () => {
  const s = apply(nothing(), { full: true, cursor: "9", records: Array.from({ length: 700 }, (_, i) => rec("k" + i, new Date(i * 1e6).toISOString())) });
  assert.equal(toKeep(s).sessions.length, 500);
  assert.equal(toKeep(s).cursor, "");
});
test("a machine reports while its beats are not two and a half late", () => {
  const m = (ago, beat) => [{ last_seen: new Date(1e12 - ago * 1000).toISOString(), beat_s: beat }];
  assert.deepEqual([reporting(m(80, 30), 1e12), reporting(m(149, 60), 1e12), reporting(m(160, 60), 1e12), reporting([], 1e12)], [true, true, false, false]);
});

const KEY = "sr_read_abcdefgh23456789_9f8e7d6c5b4a_0badc0de";
test("a pairing link, a whole address and a bare key are understood", () => {
  assert.deepEqual(read(`#relay=https://r.example&key=${KEY}`, "https://page.example/"), { relay: "https://r.example/", key: KEY, name: "" });
  assert.deepEqual(read(`https://r.example/#key=${KEY}`, "https://page.example/"), { relay: "https://r.example/", key: KEY, name: "" });
  assert.deepEqual(read(KEY, "http://10.0.0.5:8787/"), { relay: "http://10.0.0.5:8787/", key: KEY, name: "" });
});
test("a key never goes to an address in the open, and a push key is no key for a page", () => {
  assert.match(read(`#relay=http://r.example&key=${KEY}`, "https://p/"), /https/);
  assert.match(read(`#relay=javascript:alert(1)&key=${KEY}`, "https://p/"), /https/);
  assert.match(read(`#key=${KEY.replace("read", "push")}`, "https://p/"), /read key/);
  assert.match(read("hello", "https://p/"), /not a key/);
  assert.equal(baseOf("http://127.0.0.1:8787"), "http://127.0.0.1:8787/");
});
test("several keys are kept, one is chosen, each can be forgotten", () => {
  const kept = new Map(), storage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) };
  const p = pairings(shelf(() => storage)), one = { relay: "https://a/", key: "k1", name: "" }, two = { relay: "https://b/", key: "k2", name: "" };
  p.add(one); p.add(two);
  assert.equal(p.current().key, "k2");
  p.choose(one);
  assert.equal(pairings(shelf(() => storage)).current().key, "k1");
  assert.equal(p.current("https://b/").key, "k2");
  p.forget(one);
  assert.deepEqual(pairings(shelf(() => storage)).all, [two]);
  assert.ok(![...kept.values()].join().includes("k1"));
});

const list = [["Batch relay uploads", "relay", 3], ["Fix the relay", "dashboard", 2], ["Docs", "docs", 9]].map(([title, project, cost], i) => session({ key: "s" + i, id: "s" + i, title, project, cost, models_used: ["m"], last_activity: new Date(1e12 - i * 1e6).toISOString() }));
test("a search wants every word, anywhere", () => {
  assert.deepEqual(search(list, { ...ALL, q: "RELAY  fix" }).map((s) => s.key), ["s1"]);
  assert.deepEqual(search(list, { ...ALL, project: "relay" }).map((s) => s.key), ["s0"]);
  assert.deepEqual(search(list, { ...ALL, by: "cost" }).map((s) => s.cost), [9, 3, 2]);
});
test("words find what the server finds with them, and no more", () => {
  // The same vectors are the server's: tests/ledger/test_search.py.
  for (const v of JSON.parse(readFileSync(new URL("../vectors/search.json", import.meta.url), "utf8"))) {
    const one = session({ id: "key-of-it", machine: "thinkpad", session_type: "claude_code", ...v.session });
    assert.deepEqual([...v.found, ...v.missed].filter((q) => search([one], { ...ALL, q }).length), v.found, v.why);
  }
});
test("a model finds the sessions that used it, also those whose tool did not name it", () => {
  const one = session({ key: "k", models_used: ["m"], models: [{ model: "n", tokens: 1 }, { model: "m", tokens: 1 }] });
  for (const [model, n] of [["m", 1], ["n", 1], ["o", 0]]) assert.equal(search([one], { ...ALL, model }).length, n, String(model));
});
test("what is here and what was paged in are one list", () => {
  const page = [session({ key: "s1", last_activity: "2001-01-01T00:00:00Z" }), session({ key: "old", last_activity: "2001-01-01T00:00:00Z" })];
  assert.deepEqual(union(list, page, ALL).map((s) => s.key), ["s0", "s1", "s2", "old"]);
});
test("the server is asked the same question", () => {
  assert.equal(asked({ ...ALL, q: "a b", model: "m" }, "c", 50), "sessions?limit=50&sort=-last_activity&q=a+b&model=m&cursor=c");
  assert.equal(asked({ ...ALL, q: " a\ufeffb\t" }, null, 50), "sessions?limit=50&sort=-last_activity&q=a+b", "in the same words");
});

const block = (more) => ({ from: 0, to: 5 * F.HOUR, percent: 58, percent_basis: "official", unit: "percent", tokens: { total: 100 }, curve: [[new Date(0).toISOString(), 0], [new Date(3 * F.HOUR).toISOString(), 58]], projection: { percent: 96, low: 84, high: 109, tokens: 160, cost: 3, hit_at: null }, ...more });
test("an official percentage is sure, one against an earlier block is a guess", () => {
  assert.deepEqual(share(block(), []), { kind: "official", percent: 58 });
  assert.deepEqual(share(block({ percent_basis: "largest earlier block" }), []), { kind: "guess", percent: 58 });
  assert.deepEqual(share(block({ percent: null }), [{ tokens: 200 }]), { kind: "guess", percent: 50 });
  assert.deepEqual(share(block({ percent: null }), []), { kind: "none", percent: null });
});
test("the verdict names the reset, the hit, or nothing", () => {
  assert.equal(verdict(block(), []).text, "Heading for 96% at reset, likely 84–109%");
  assert.equal(verdict(block(), []).tone, "warn");
  assert.match(verdict(block({ projection: { percent: 128, hit_at: new Date(4 * F.HOUR).toISOString() } }), []).text, /^Reaches the limit at .*, 1h before it resets$/);
  assert.equal(verdict(block({ projection: null }), []).tone, "");
  assert.match(verdict(block({ percent: null }), []).text, /about 160 tokens/);
  assert.equal(verdict(block({ percent: 101 }), []).tone, "bad");
});
test("a chart keeps its curve inside the block whatever the clocks say", () => {
  const s = scale(block({ curve: [[new Date(-F.HOUR).toISOString(), 0], [new Date(9 * F.HOUR).toISOString(), 58]] }));
  assert.deepEqual(s.points.map((p) => p[0]), [0, 5 * F.HOUR]);
  assert.equal(scale(block({ curve: [] })).end[1], 0);
  assert.equal(scale(block({ unit: "tokens", limit: null, percent: null })).limit, null);
});
test("an axis has round steps", () => assert.deepEqual([62, 0.3, 900, 7].map((v) => step(v / 1, 3)), [25, 0.1, 500, 2.5]));
test("the sample moves to today, its dates by whole days", () => {
  const m = move({ date: "2026-01-01", start: "2026-01-01T00:00:00.000Z", curve: [["2026-01-01T00:00:00.000Z", 5]], title: "2026" }, F.DAY, 1);
  assert.deepEqual(m, { date: "2026-01-02", start: "2026-01-02T00:00:00.000Z", curve: [["2026-01-02T00:00:00.000Z", 5]], title: "2026" });
});
test("a day in the list is the reader's day at every hour, wherever the reader is", () => {
  const zone = process.env.TZ;
  for (process.env.TZ of ["America/Los_Angeles", "Asia/Tokyo", "Pacific/Auckland", "UTC"]) for (const hour of [0, 7, 13, 23]) {
    const day = F.dayOf(new Date(2026, 10, 28, hour, 30).getTime());
    assert.match(F.when(new Date(2026, 10, 28, 0, 10).getTime(), day), /^Today/);
    assert.match(F.when(new Date(2026, 10, 27, 23, 50).getTime(), day), /^Yesterday/);
  }
  if (zone == null) delete process.env.TZ; else process.env.TZ = zone;
});
