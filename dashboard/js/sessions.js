// The table of sessions: search, filter, sort, page, open one.
import { html, signal, computed, effect, memo, useRef, useEffect, useState } from "./lib.js";
import * as S from "./store.js";
import { count, DAY, modelName, money, span, tokens, when } from "./format.js";
import { ALL, SORT, asked, filtered, search, union } from "./query.js";
import { session } from "./feed.js";

const FIRST = 12, STEP = 50;
export const query = signal(ALL);
export const open = signal("");
const limit = signal(FIRST);
/** what the server answered to this query: rows so far and where they go on */
const remote = signal(/** @type {{q: any, rows: any[], next: string|null, total: number}|null} */ (null));
const busy = signal(false);
/** how to ask the home that answers now; set by main.js @type {(path: string, signal?: AbortSignal) => Promise<any>} */
let ask = async () => { throw new Error("offline"); };
export const asks = (fn) => { ask = fn; };

/** Are all sessions here, so that nothing need be asked? */
const complete = computed(() => S.sessions.value.length >= S.total.value);
const local = computed(() => search(S.sessions.value, query.value));
const found = computed(() => { const r = remote.value; return !complete.value && r && r.q === query.value ? union(local.value, r.rows, query.value) : local.value; });
const size = computed(() => { const r = remote.value; return !complete.value && r && r.q === query.value ? r.total : filtered(query.value) || complete.value ? local.value.length : S.total.value; });

let stop = new AbortController(), wait = 0;
/** Ask for the rows after those that are here. */
async function fetchMore(q, cursor, before) {
  stop.abort();
  stop = new AbortController();
  busy.value = true;
  try {
    const page = await ask(asked(q, cursor, cursor ? STEP : Math.min(500, Math.max(STEP, limit.peek()))), stop.signal);
    if (q === query.peek()) remote.value = { q, rows: [...before, ...page.sessions.map((s) => session(s))], next: page.next ?? null, total: page.total ?? 0 };
    busy.value = false;
  } catch (e) { if (/** @type {any} */ (e).name !== "AbortError") busy.value = false; }
}
// What is here answers at once; the server's complete answer follows when the fingers rest.
effect(() => {
  const q = query.value;
  clearTimeout(wait);
  if (!complete.peek() && (filtered(q) || q.by !== "last" || q.up)) wait = window.setTimeout(() => fetchMore(q, null, []), 180);
});
function change(part) { limit.value = FIRST; query.value = { ...query.value, ...part }; }
function more() {
  limit.value += STEP;
  const q = query.value, r = remote.value;
  if (complete.value || found.value.length >= limit.value) return;
  if (r?.q === q) { if (r.next) fetchMore(q, r.next, r.rows); } else fetchMore(q, null, []);
}
const names = (k, of) => computed(() => { const n = new Map(); for (const v of S.summary.value[k] ?? []) n.set(v, 0); for (const s of S.sessions.value) { const v = of(s); if (v) n.set(v, (n.get(v) ?? 0) + 1); } return [...n].sort((a, b) => b[1] - a[1]).map(([v]) => v).join("\n"); });
const projects = names("projects", (s) => s.project), models = names("models", (s) => s.model), machines = names("", (s) => s.machine);

const Pick = memo(({ k, value, list, label }) => html`<select aria-label=${label} class=${value ? "set" : ""} value=${value} onChange=${(e) => change({ [k]: e.target.value })}>
  <option value="">${label}</option>${list.split("\n").filter(Boolean).map((v) => html`<option value=${v}>${k === "model" ? modelName(v) : v.slice(0, 60)}</option>`)}</select>`);

/** The detail view is loaded when the first one is opened. */
function Opened({ s }) {
  const [View, set] = useState(/** @type {any} */ (null));
  useEffect(() => { import("./detail.js").then((m) => set(() => m.Detail)).catch(() => set(() => () => html`<p class="quiet">The details could not be loaded. Reload the page to try again.</p>`)); }, []);
  return View ? html`<${View} s=${s} ask=${ask} />` : html`<p class="quiet">Loading…</p>`;
}
const Row = memo(({ s, day, isOpen, colour }) => {
  const toggle = (e) => { if (e.target.closest("a")) return; e.stopPropagation(); open.value = isOpen ? "" : s.key; };
  const guess = s.provenance && s.provenance !== "observed";
  return html`<tr class=${(s.is_active ? "live " : "") + (isOpen ? "open" : "")} onClick=${toggle}>
    <td class="num when">${s.is_active ? html`<span class="pulse">Active</span>` : when(s.last, day)}</td>
    <th scope="row"><button class="plain" aria-expanded=${isOpen} onClick=${toggle}><bdi>${s.title || s.project || html`<span class="quiet">Untitled</span>`}</bdi></button>${s.stale && html` <span class="tag" title="Its tracker says that it is active, but nothing was heard of it for a day">stale</span>`}<span class="sub phone"><i class=${colour} aria-hidden="true"></i> <bdi>${s.project || "no project"}</bdi> · <bdi>${s.machine}</bdi></span></th>
    <td class="proj"><bdi>${s.project || "–"}</bdi></td><td class="model" title=${(s.models_used ?? []).join(", ")}><i class=${colour} aria-hidden="true"></i>${modelName(s.model)}</td><td class="mach"><bdi>${s.machine}</bdi></td>
    <td class="num r len">${span(s.length)}</td><td class=${"num r tok" + (guess ? " guess" : "")} title=${guess ? `${s.provenance}, not measured` : ""}>${guess ? "≈" : ""}${tokens(s.all)}</td><td class="num r cost">${money(s.cost)}</td></tr>
  ${isOpen && html`<tr class="detail"><td colspan="8"><${Opened} s=${s} /></td></tr>`}`;
});
function Head({ id, name, cls }) {
  const q = query.value, on = q.by === id;
  if (!SORT[id] && !complete.value) return html`<th scope="col" class=${cls}>${name}</th>`;
  return html`<th scope="col" class=${cls} aria-sort=${on ? (q.up ? "ascending" : "descending") : "none"}><button class="plain" onClick=${() => change({ by: id, up: on ? !q.up : false })}>${name}<span class="arrow" aria-hidden="true">${on ? (q.up ? "↑" : "↓") : ""}</span></button></th>`;
}
const typing = (key) => /INPUT|SELECT|TEXTAREA/.test(document.activeElement?.tagName ?? "") && key !== "Escape";

export function Sessions() {
  const q = query.value, list = found.value, shown = list.slice(0, limit.value), all = size.value, day = Math.floor(S.clockNow.value / DAY) * DAY + DAY / 2;
  const box = useRef(/** @type {any} */ (null)), left = Math.max(0, all - shown.length), offline = !complete.value && S.conn.value.state === "stored";
  useEffect(() => {
    const key = (e) => {
      if (typing(e.key) || e.metaKey || e.ctrlKey || e.altKey) return;
      if (e.key === "/") { e.preventDefault(); box.current.focus(); }
      if (e.key === "Escape" && document.activeElement === box.current) { change({ q: "" }); box.current.blur(); }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  return html`<section class="panel sessions" id="sessions" aria-labelledby="h-sess">
    <header><h2 id="h-sess">Sessions</h2><span class="quiet num" role="status">${filtered(q) ? `${count(all)} of ${count(S.total.value)}` : count(S.total.value)}${offline ? `, the newest ${count(S.sessions.value.length)} are kept here` : ""}</span><span class="grow"></span>
      <label class="search"><span class="sr">Search sessions</span><input ref=${box} type="search" placeholder="Search title, project, branch" value=${q.q} onInput=${(e) => change({ q: e.target.value })} /><kbd aria-hidden="true">/</kbd></label>
      <${Pick} k="project" label="Project" value=${q.project} list=${projects.value} /><${Pick} k="model" label="Model" value=${q.model} list=${models.value} /><${Pick} k="machine" label="Machine" value=${q.machine} list=${machines.value} /></header>
    ${list.length === 0 ? html`<p class="none">${busy.value ? "Searching…" : filtered(q) ? html`No session matches. <button class="link" onClick=${() => change(ALL)}>Clear the filter</button>` : "No session yet."}</p>`
      : html`<table class="list"><thead><tr><${Head} id="last" name="Last active" cls="when" /><th scope="col" class="title">Session</th><${Head} id="project" name="Project" cls="proj" /><th scope="col" class="model">Model</th><${Head} id="machine" name="Machine" cls="mach" /><${Head} id="length" name="Length" cls="r len" /><${Head} id="tokens" name="Tokens" cls="r tok" /><${Head} id="cost" name="Cost" cls="r cost" /></tr></thead>
        <tbody>${shown.map((s) => html`<${Row} key=${s.key} s=${s} day=${day} isOpen=${open.value === s.key} colour=${S.colour(s.model)} />`)}</tbody></table>`}
    ${left > 0 && list.length > 0 && !(offline && shown.length >= list.length) && html`<button class="more" onClick=${more} disabled=${busy.value}>${busy.value ? "Loading…" : html`Show ${Math.min(STEP, left)} more <span class="quiet num">${count(left)} left</span>`}</button>`}
  </section>`;
}
