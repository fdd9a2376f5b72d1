process.env.TZ = "Europe/Berlin"; // where clocks change
import { test } from "node:test";
import assert from "node:assert/strict";
import { lengthOf, short, tokens, MINUTE, HOUR, DAY } from "../../dashboard/js/format.js";
import { bucketed, explained, ticks } from "../../dashboard/js/detail.js";

const noon = new Date(2026, 10, 18, 12, 7).getTime(), row = (at, output) => ({ at: new Date(at).toISOString(), output });
test("a short session is drawn between whole hours", () => {
  const b = bucketed([row(noon - 7 * MINUTE, 5), row(noon + 8 * MINUTE, 7)], 50);
  assert.equal(b.each, 15 * MINUTE);
  assert.deepEqual([new Date(b.from).getHours(), new Date(b.to).getHours(), b.bars.length], [12, 13, 4]);
  assert.deepEqual(b.bars.map((bar) => bar.output), [5, 7, 0, 0]);
});
test("nothing is lost however long a session is", () => {
  for (const days of [0.5, 3, 40, 400]) {
    const rows = Array.from({ length: 200 }, (_, i) => row(noon + (i * days * DAY) / 200, 1)), b = bucketed(rows, 60);
    assert.equal(b.bars.reduce((a, x) => a + x.output, 0), 200);
    assert.ok(b.bars.length <= 62, String(b.bars.length));
  }
  assert.deepEqual(bucketed([], 60).bars, []);
});
test("an axis names whole hours or days, no two of them close", () => {
  for (const [length, each] of [[HOUR, 15 * MINUTE], [5 * HOUR, 15 * MINUTE], [2 * DAY, HOUR], [40 * DAY, DAY]]) for (const w of [240, 480, 800]) {
    const from = new Date(2026, 10, 18, 12).getTime(), marks = ticks(from, from + length, each, w);
    assert.ok(marks.length >= 1, `${length} ${w}`);
    marks.forEach((m, i) => { assert.ok(m.x >= 0 && m.x <= w); assert.ok(!i || m.x - marks[i - 1].x >= 60); assert.match(m.text, /^(\d\d:00|\d{1,2} \w{3,4})$/); });
  }
});
test("an axis of days names each its midnight, also where the clocks change", () => {
  for (const [from, wanted] of [[new Date(2026, 9, 20), "20 Oct,22 Oct,24 Oct,26 Oct,28 Oct"], [new Date(2026, 2, 25), "26 Mar,28 Mar,30 Mar,1 Apr"]]) {
    const start = from.getTime(), marks = ticks(start, start + 8.5 * DAY, DAY, 400);
    assert.equal(marks.map((m) => m.text).join(), wanted);
    for (const m of marks) assert.equal(new Date(start + (m.x / 400) * 8.5 * DAY).getHours(), 0);
  }
});
test("lines of one price are told together, the dearest first", () => {
  const line = (kind, tokens, amount) => ({ model: "m", price_class: "standard", kind, usd_per_million: 1, tokens, amount });
  assert.deepEqual(explained([line("input", 1, 1), line("output", 5, 5), line("input", 2, 2)]).map((l) => [l.kind, l.tokens, l.amount]), [["output", 5, 5], ["input", 3, 3]]);
});
test("a number on an axis is the number in the table", () => {
  assert.deepEqual([0, 500, 1500, 1e6, 5e6, 1e7, 5e7, 1e8, 1.5e8, 2.5e9].map(short), ["0", "500", "1.5k", "1M", "5M", "10M", "50M", "100M", "150M", "2.5B"]);
  for (const n of [1e6, 5e7, 1.5e8]) assert.equal(parseFloat(short(n)), parseFloat(tokens(n)));
});
test("a session that a tracker ended is as long as it was, though it is said to be active", () => {
  assert.equal(lengthOf({ is_active: true, end_time: "2026-01-01T01:00:00Z", start: 0, length: 5 }, 99), 5);
  assert.equal(lengthOf({ is_active: true, start: 9, length: 5 }, 99), 90);
  assert.equal(lengthOf({ is_active: false, start: 9, length: 5 }, 99), 5);
});
