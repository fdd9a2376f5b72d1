// Numbers, money and times as people read them, and what models, tools and limits are called. Pure.

export const MINUTE = 60000, HOUR = 3600000, DAY = 86400000;
const two = (n) => String(n).padStart(2, "0");
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** @type {Map<string, Intl.DateTimeFormat>} */
const made = new Map();
/** Intl objects are slow to make, quick to use. */
const intl = (key, o) => made.get(key) ?? (made.set(key, new Intl.DateTimeFormat("en-GB", o)), /** @type {Intl.DateTimeFormat} */ (made.get(key)));

/** An ISO time, or a number already in ms, in ms; null stays null. @returns {number|null} */
export function ms(t) {
  if (t == null || t === "") return null;
  const n = typeof t === "number" ? t : Date.parse(t);
  return Number.isFinite(n) ? n : null;
}
/** 1284113 -> "1.28M" */
export function tokens(n) {
  if (n == null) return "–";
  if (n < 999.5) return String(Math.round(n));
  for (const [size, unit] of /** @type {[number, string][]} */ ([[1e3, "k"], [1e6, "M"], [1e9, "B"], [1e12, "T"]])) {
    const v = n / size;
    if (v < 999.5 || unit === "T") return (v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : Math.round(v).toLocaleString("en-US")) + unit;
  }
  return "";
}
/** The same on an axis: "1.5M", "150M" */
export const short = (n) => tokens(n).replace(/\.0+(?=\D)|(\.\d*[1-9])0+(?=\D)/, "$1");
/** Whole dollars from a thousand on, short from a million; a price that is not known is a dash, never zero. */
export function money(n) {
  if (n == null || !Number.isFinite(n)) return "–";
  if (n > 0 && n < 0.005) return "<$0.01";
  return "$" + (n >= 999999.5 ? tokens(n) : n >= 999.995 ? Math.round(n).toLocaleString("en-US") : n.toFixed(2));
}
export const count = (n) => n.toLocaleString("en-US");
/** What is not all is never told as 100%. */
export const pct = (n) => (n == null ? "–" : n > 0 && n < 0.5 ? "<1%" : (n < 100 ? Math.min(99, Math.round(n)) : Math.round(n)) + "%");
/** "1 session", "2 sessions" */
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** 8040000 -> "2h 14m" */
export function span(length) {
  const m = Math.max(0, Math.round(length / MINUTE));
  if (!m && length >= 0) return "<1m";
  if (m < 60) return m + "m";
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h}h ${two(m % 60)}m` : `${h}h`;
  const d = Math.floor(h / 24);
  return h % 24 && d < 10 ? `${d}d ${h % 24}h` : `${d}d`;
}
export function ago(length) {
  const s = Math.max(0, Math.round(length / 1000));
  if (s < 3) return "now";
  if (s < 60) return s + "s ago";
  if (s < 3600) return Math.floor(s / 60) + "m ago";
  if (s < 172800) return Math.floor(s / 3600) + "h ago";
  return Math.floor(s / 86400) + "d ago";
}
export const clock = (t) => intl("clock", { hour: "2-digit", minute: "2-digit" }).format(t);
/** The local calendar day of a moment: "2026-11-22" */
export function dateOf(t) { const d = new Date(t); return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`; }

/** The noon of a day, where the reader is: the same number all day long. */
export const dayOf = (t) => new Date(t).setHours(12, 0, 0, 0);
/** "Today 11:07", "Yesterday 18:20", "Wed 09:14", "3 Nov 10:02", "3 Nov 2024" */
export function when(t, now) {
  if (t == null) return "–";
  const d = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(t).setHours(0, 0, 0, 0)) / DAY);
  if (d === 0) return "Today " + clock(t);
  if (d === 1) return "Yesterday " + clock(t);
  if (d > 1 && d < 7) return weekClock(t);
  if (new Date(t).getFullYear() !== new Date(now).getFullYear()) return intl("date", { day: "numeric", month: "short", year: "numeric" }).format(t);
  return `${intl("day", { day: "numeric", month: "short" }).format(t)} ${clock(t)}`;
}
/** "18:22, in 3h 10m" or "Wed 18:22, in 3d 7h" */
export function until(t, now) {
  if (t <= now) return "resets now";
  return `${t - now < DAY ? clock(t) : weekClock(t)}, in ${span(t - now)}`;
}
/** "Wed 18:22" */
const weekClock = (t) => `${intl("weekday", { weekday: "short" }).format(t)} ${clock(t)}`;

/** Calendar days are plain dates: no zone may move them. */
export const utc = (date) => Date.parse(date + "T00:00:00Z");
/** "Sat 14 Nov" */
export const dayName = (date) => intl("dayName", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" }).format(utc(date)).replace(",", "");
/** "14 Nov" */
export const dayShort = (date) => intl("dayShort", { day: "numeric", month: "short", timeZone: "UTC" }).format(utc(date));
/** "Nov" */
export const monthName = (date) => intl("month", { month: "short", timeZone: "UTC" }).format(utc(date));
/** The date *n* days later. */
export const shiftDate = (date, n) => new Date(utc(date) + n * DAY).toISOString().slice(0, 10);

// ---- names
export const isSealed = (t) => /^sealed1\./.test(t);
/** A name as it is shown. Equal sealed names are equal, so that a few letters tell one from another. */
export const label = (t) => (isSealed(t) ? "sealed " + t.slice(8, 12) : t);
/** How long a session took, or has been going on. */
export const lengthOf = (s, now) => (s.is_active && !s.end_time && s.start ? Math.max(0, now - s.start) : s.length);
const FAMILY = /opus|sonnet|haiku/;
const TOOLS = { claude_code: "Claude Code", claude_desktop: "Claude Desktop", codex: "Codex", gemini: "Gemini", opencode: "OpenCode", unknown: "Unknown tool" };

/** "claude-opus-4-1-20250805" -> "Opus 4.1"; a name we cannot read stays as it is. */
export function modelName(id) {
  if (!id) return "Unknown";
  const bare = id.replace(/^[\w.-]+\/(?=[\w.-]+$)/, "").replace(/[-@]\d{8}.*$/, "").replace(/^(?:[a-z]{2,4}\.)?(?:anthropic\.)?claude-/, "").replace(/-(?:latest|v\d+(?::\d+)?)$/, "");
  const family = bare.match(FAMILY)?.[0];
  if (!family || !/^(?:\d+(?:[-.]\d+)?-)?(?:opus|sonnet|haiku)(?:-\d+(?:[-.]\d+)?)?$/.test(bare)) return /^gpt/i.test(bare) ? "GPT" + bare.slice(3).replace(/-(?=[a-z])/g, " ") : bare || id;
  const version = bare.replace(family, "").replace(/^-|-$/g, "").replace("-", ".");
  return family[0].toUpperCase() + family.slice(1) + (version ? " " + version : "");
}
export const toolName = (type) => TOOLS[type] ?? (type ? type.replace(/_/g, " ").replace(/^./, (c) => c.toUpperCase()) : "Unknown tool");

/** Which colour class each model has, largest first. The largest of a family has the family's colour; the next ones
 * take what is left, and after that all are grey: more colours than a person can tell apart say nothing.
 * @param {string[]} models @returns {Map<string, string>} */
export function modelColours(models) {
  const of = (id) => id.match(FAMILY)?.[0] ?? "", families = new Set(models.map(of)), taken = new Set(), out = new Map();
  const spare = ["p5", "p4", ...["opus", "sonnet", "haiku"].filter((f) => !families.has(f))];
  for (const id of models) {
    const family = of(id), colour = family && !taken.has(family) ? family : spare.shift() ?? "other";
    taken.add(colour);
    out.set(id, colour);
  }
  return out;
}
/** How long a window is, in hours; 0 when its name does not say. */
export const windowHours = (w) => (w?.startsWith("five_hour") ? 5 : w?.startsWith("seven_day") ? 168 : 0);
