// Everything the page shows, as signals. The server does the arithmetic; this file keeps its answers.
import { signal, computed, batch, styled } from "./lib.js";
import { apply as applied, nothing, toKeep, lastReport, reporting } from "./feed.js";
import { dateOf, isSealed, MINUTE, modelColours, ms, shiftDate, toolName } from "./format.js";

export const conn = signal({ state: "connecting", why: "", base: "" });
/** ticks once a second while somebody looks */
export const now = signal(Date.now());
/** server clock minus ours, so that "time left" is right on a phone whose clock is wrong */
export const skew = signal(0);
/** when the shown data was true, by the server's clock */
export const asOf = signal(0);
export const clockNow = computed(() => now.value + skew.value);
/** the same to the minute: what shows minutes is drawn again once a minute */
export const minute = computed(() => Math.floor(clockNow.value / MINUTE) * MINUTE);

export const has = signal(false);
export const summary = signal({});
export const machines = signal([]);
/** newest first; replaced, never changed in place, so that a view can compare by identity */
export const sessions = signal([]);
export const days = signal([]);
/** the same for what changes too little to be drawn more than every 5 s */
export const calmDays = signal([]);
/** what opens sealed names, once there are any: sealed.js; another object when it could open more */
export const seals = signal(null);
export const sample = signal(false);
export const home = signal("");

/** what the key in use opens, as the relay said: {shows, expires, role} */
export const access = signal(null);
/** Is a part shown to whoever holds this key? */
export const sees = (part) => access.value?.shows?.includes(part) ?? true;
/** What a session is called. */
export const called = (s) => s.title || s.project || (sees("titles") ? "Untitled" : toolName(s.session_type));
/** Nothing has a price: then tokens are what can be compared. */
export const costless = computed(() => days.value.length > 0 && !days.value.some((d) => d.cost));

const part = (k, or) => computed(() => summary.value[k] ?? or);
const rawBlock = part("block", null);
/** The open block; one that has run out is no longer current, whoever still shows it. */
export const block = computed(() => {
  const b = rawBlock.value;
  if (!b) return null;
  const end = ms(b.end) ?? 0;
  return stale.value || end > minute.value ? { ...b, from: ms(b.start) ?? 0, to: end } : null;
});
export const limits = part("limits", []), recent = part("recent_blocks", []), hours = part("hours", []), alerts = part("alerts", []);
export const total = computed(() => summary.value.sessions_total ?? sessions.value.length);
export const active = computed(() => sessions.value.filter((s) => s.is_active));
export const unpriced = part("unpriced", []);
export const stale = computed(() => !["live", "relay-live", "connecting", "sample"].includes(conn.value.state));
export const colours = computed(() => {
  const cost = new Map();
  for (const d of calmDays.value.slice(-30)) for (const [m, v] of Object.entries(d.models ?? {})) cost.set(m, (cost.get(m) ?? 0) + (v[1] ?? 0) + v[0] * 1e-12);
  // Whoever may not see totals sees the models of what runs.
  const rest = [...(sees("totals") ? summary.value.models ?? [] : sessions.value.map((s) => s.model)), ...(block.value?.models ?? []).map((m) => m.model)].filter((m) => !cost.has(m));
  return modelColours([...[...cost].sort((a, b) => b[1] - a[1]).map(([m]) => m), ...new Set(rest)]);
});
export const colour = (model) => "c-" + (colours.value.get(model) ?? "other");
export const today = computed(() => dateOf(minute.value));
/** Is what is shown of today? */
export const ofToday = computed(() => dateOf(asOf.value) === today.value);
/** The last n calendar days up to today; days without use are there, and empty. */
export function calendar(known, n, end) {
  const by = new Map(known.map((d) => [d.date, d]));
  return Array.from({ length: n }, (_, i) => { const date = shiftDate(end, i - n + 1); return by.get(date) ?? { date, cost: 0, tokens: 0, sessions: 0 }; });
}

let state = nothing(), base = "", drawnDays = 0, queued = false;
const frame = (fn) => (globalThis.document?.hidden === false ? requestAnimationFrame(fn) : queueMicrotask(fn));

/** The cursor to continue from, if what is shown came from there. */
export const cursor = (from) => (from === base ? state.cursor : "");
export const kept = () => toKeep({ ...state, at: asOf.peek() || state.at, access: access.peek() });
/** Where no machine is, none has gone silent; and whose machines are hidden is not asked when they reported. */
const reports = (s, at) => reporting(s.machines, at) || !s.machines.length;
export const anyReports = () => reports(state, Date.now() + skew.peek());

const unseal = (list) => { if (!seals.peek() && list?.some((s) => isSealed(s.title) || isSealed(s.project))) styled(import("./sealed.js")).then((m) => m.start()); };

/** Take a feed. False when it does not continue what is here. *fresh*: its server's clock is current. */
export function apply(feed, from, fresh) {
  const next = applied(state, from === base ? feed : { ...feed, full: true });
  if (!next) return false;
  state = next; base = from;
  unseal(feed.records?.map((r) => r.value));
  if (fresh) { tick(next.at); asOf.value = next.home === "relay" && !reports(next, next.at) ? lastReport(next.machines) || next.at : next.at; }
  if (!has.peek()) draw(); // the first numbers wait for nothing
  else if (!queued) { queued = true; frame(draw); }
  return true;
}
export function restore(old) {
  if (base) return;
  state = { ...nothing(), ...old, cursor: "" };
  asOf.value = old.at; access.value = old.access ?? null;
  unseal(state.sessions);
  draw();
}
export function clear() { state = nothing(); base = ""; drawnDays = 0; batch(() => { draw(); has.value = false; asOf.value = 0; access.value = null; }); }

/** A burst of messages costs one drawing, and what one feed said is drawn together. */
export function draw() {
  queued = false;
  batch(() => {
    const open = seals.peek();
    has.value = true;
    summary.value = open ? open.summary(state.summary) : state.summary;
    sessions.value = open ? open.sessions(state.sessions) : state.sessions;
    days.value = summary.value.days ?? [];
    machines.value = state.machines; sample.value = state.sample; home.value = state.home;
    second();
  });
}
export function second() {
  batch(() => {
    const t = now.value = Date.now(), list = days.peek();
    if (list !== calmDays.peek() && (Math.abs(t - drawnDays) > 5000 || !calmDays.peek().length || !list.length)) { drawnDays = t; calmDays.value = list; }
  });
}
/** Follow the server's clock; jitter is not worth a drawing. */
function tick(at) { const s = at - Date.now(); if (at && Math.abs(s - skew.value) > 750) skew.value = s; }
/** "Nothing new": what is shown is still true. */
export function alive(at) {
  const t = ms(at) ?? Date.now() + skew.value;
  tick(t);
  if (home.value === "relay" && !anyReports()) return;
  if (Math.abs(t - asOf.value) >= 1000) asOf.value = t;
}
