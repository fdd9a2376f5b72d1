// The sample: made-up numbers to look around in, loaded only when the person asks, moved to today.
import { ms, shiftDate, dateOf, DAY } from "./format.js";
import { flush } from "./kept.js";
import * as S from "./store.js";

const TIMES = new Set(["start_time", "end_time", "last_activity", "start", "end", "resets_at", "observed_at", "last_seen", "hit_at", "runs_out_at", "at", "server_time"]);
/** Every time in a value, moved by *by*; dates by whole days. @returns {any} */
export function move(v, by, days) {
  if (Array.isArray(v)) return v.map((x) => (Array.isArray(x) && typeof x[0] === "string" && /T.*Z$/.test(x[0]) ? [new Date((ms(x[0]) ?? 0) + by).toISOString(), ...x.slice(1)] : move(x, by, days)));
  if (!v || typeof v !== "object") return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, k === "date" && typeof x === "string" ? shiftDate(x, days) : TIMES.has(k) && typeof x === "string" ? new Date((ms(x) ?? 0) + by).toISOString() : move(x, by, days)]));
}
async function sampleFeed() {
  const r = await fetch(new URL("../sample.json", import.meta.url));
  const feed = await r.json(), now = Date.now(), at = ms(feed.server_time) ?? now;
  const days = Math.round((Date.parse(dateOf(now)) - Date.parse(feed.today)) / DAY);
  return move(feed, now - at, days);
}
/** Show it instead of what is there, which is kept as it was: the sample itself never is. */
export async function show() {
  const feed = await sampleFeed();
  flush();
  S.clear();
  S.apply(feed, "sample", true);
  S.conn.value = { state: "sample", why: "", base: "" };
}
