// What the page knows, and how one feed changes it. Pure: a state in, a new state out.
//
// A feed continues the state whose cursor it starts from, or replaces everything when it is full. One that
// does neither is refused, and the caller asks for a full one: a lost message can never go unnoticed.
import { ms } from "./format.js";

const MOST = 1000; // sessions kept beside the ones that were paged in by hand

/** @returns {Shown} */
export const nothing = () => ({ home: "", cursor: "", sessions: [], summary: {}, machines: [], at: 0, sample: false });

/** A session as the page uses it: times as numbers, made once when it arrives. */
export function session(v, key, source) {
  const start = ms(v.start_time), last = ms(v.last_activity) ?? ms(v.end_time) ?? start;
  const models = v.models?.length ? v.models.map((m) => m.model) : v.models_used ?? [];
  return { ...v, key: v.key ?? key ?? v.id, source: v.source ?? source ?? "", start, last, model: models[0] ?? "", all: v.estimated_tokens ?? 0,
    length: v.duration_minutes != null ? v.duration_minutes * 60000 : Math.max(0, (last ?? 0) - (start ?? last ?? 0)) };
}
/** Active first, by their start so that rows do not change places while people work; then the newest activity. */
export const newest = (a, b) => Number(!!b.is_active) - Number(!!a.is_active) || (a.is_active ? (b.start ?? 0) - (a.start ?? 0) : (b.last ?? 0) - (a.last ?? 0)) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

/** The state after a feed, or null when the feed does not continue this state.
 * @returns {Shown|null} */
export function apply(state, feed) {
  if (!feed.full && feed.since != null && feed.since !== state.cursor) return null;
  const old = feed.full ? nothing() : state;
  const reset = new Set(feed.reset ?? []), gone = new Map(), came = new Map();
  for (const r of feed.removed ?? []) if (r.kind === "session") gone.set(r.key, r.source);
  for (const r of feed.records ?? []) if (r.kind === "session") came.set(r.key, session(r.value, r.key, r.source));
  let sessions = old.sessions;
  if (reset.size || gone.size || came.size) {
    // A key may move from one machine to another within one feed: removed there, a record here.
    sessions = sessions.filter((s) => !came.has(s.key) && !reset.has(s.source) && !(gone.has(s.key) && (gone.get(s.key) == null || gone.get(s.key) === s.source)));
    sessions = [...sessions, ...came.values()].sort(newest).slice(0, MOST);
  }
  const { days_changed: changed, ...parts } = feed.summary ?? {};
  const summary = feed.full ? parts : Object.keys(parts).length || changed ? { ...old.summary, ...parts } : old.summary;
  if (changed) summary.days = withDays(parts.days ?? summary.days ?? [], changed);
  return {
    home: feed.home ?? old.home, cursor: feed.cursor ?? old.cursor, sessions,
    summary,
    machines: feed.machines ?? old.machines, at: ms(feed.server_time) ?? old.at, sample: feed.sample ?? old.sample,
  };
}
/** The days with those of *changed* in their places. */
function withDays(days, changed) {
  const dates = new Set(changed.map((d) => d.date));
  return [...days.filter((d) => !dates.has(d.date)), ...changed].sort((a, b) => (a.date < b.date ? -1 : 1));
}
/** What is kept for the next visit: the newest 500 sessions without their fine detail. */
export const toKeep = (state) => ({ v: 2, ...state, cursor: "", sessions: state.sessions.slice(0, 500) });

/** When a machine last reported, by the server's clock; 0 when none ever did. */
export const lastReport = (machines) => machines.reduce((t, m) => Math.max(t, ms(m.last_seen) ?? 0), 0);

/** Does any machine still report? @param {number} now by the server's clock */
export const reporting = (machines, now) => machines.some((m) => {
  const seen = ms(m.last_seen);
  return seen != null && now - seen < Math.max(90000, 2500 * (m.beat_s ?? 0));
});
