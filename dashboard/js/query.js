// Which sessions are shown: what is here is searched at once, and the server is asked for the rest. Pure.
import { newest } from "./feed.js";
import { isSealed } from "./format.js";

/** @type {Query} */
export const ALL = { q: "", project: "", model: "", machine: "", by: "last", up: false };
export const filtered = (q) => !!(q.q.trim() || q.project || q.model || q.machine);

// What follows is the server's search (ledger/views/search.py), told by the same vectors: else a list would change
// when its answer comes.
/** Letters without their case, as Python's casefold tells them apart: the dotless i is no other i. @param {string} t */
const folded = (t) => t.toLowerCase().replace(/[^ı]+/g, (x) => x.toUpperCase());
/** @param {string} t */
const words = (t) => t.split(/[\s\x1c-\x1f\x85]+/).filter(Boolean);
/** @type {WeakMap<object, string>} */
const known = new WeakMap();
/** What is searched of a session, made once for each object: its names, but not the letters of sealed ones. */
function text(s) {
  let t = known.get(s);
  if (t === undefined) known.set(s, (t = folded([s.title, s.project, s.git_branch].filter((n) => n && !isSealed(n)).join("\n")).replaceAll("\0", " ")));
  return t;
}
const used = (s, model) => [...(s.models_used ?? []), ...(s.models ?? []).map((m) => m.model)].includes(model);
const VALUE = { last: (s) => s.last ?? 0, project: (s) => (s.project ?? "").toLowerCase(), machine: (s) => (s.machine ?? "").toLowerCase(), length: (s) => s.length, tokens: (s) => s.all, cost: (s) => s.cost ?? -1 };

/** The sessions of a list that answer a query, in its order. @param {any[]} list newest first */
export function search(list, q) {
  const all = words(folded(q.q));
  let out = list;
  if (filtered(q)) out = out.filter((s) => (!q.project || s.project === q.project) && (!q.machine || s.machine === q.machine) && (!q.model || used(s, q.model)) && all.every((w) => text(s).includes(w)));
  if (q.by === "last" && !q.up) return out;
  const v = VALUE[q.by], sign = q.up ? 1 : -1;
  return [...out].sort((a, b) => { const x = v(a), y = v(b); return (x < y ? -1 : x > y ? 1 : 0) * sign; });
}
/** What is here and what a server's pages gave, each session once and in its newer state. */
export function union(here, pages, q) {
  const have = new Set(here.map((s) => s.key));
  const all = [...here, ...pages.filter((s) => !have.has(s.key))];
  return q.by === "last" && !q.up ? all.sort(newest) : search(all, { ...ALL, by: q.by, up: q.up });
}
/** What a server can sort by; by names only what is all here can be sorted. */
export const SORT = { last: "last_activity", length: "duration", tokens: "tokens", cost: "cost" };
/** The same query for the server. */
export function asked(q, cursor, limit) {
  const p = new URLSearchParams({ limit: String(limit), sort: (q.up ? "" : "-") + (SORT[q.by] ?? SORT.last) });
  if (q.q.trim()) p.set("q", words(q.q).join(" "));
  for (const k of /** @type {const} */ (["project", "model", "machine"])) if (q[k]) p.set(k, q[k]);
  if (cursor) p.set("cursor", cursor);
  return "sessions?" + p;
}
