// The table of sessions: search, filter, sort, page, open one.
import { html, signal, computed, effect, memo, name, styled, useEffect, useState } from "./lib.js";
import * as S from "./store.js";
import { Pop } from "./header.js";
import { count, dayOf, label as shown, lengthOf, modelName, money, span, tokens, when } from "./format.js";

const FIRST = 12, STEP = 50;
const ALL = /** @type {Query} */ ({ q: "", project: "", model: "", machine: "", by: "last", up: false });
export const query = signal(ALL), limit = signal(FIRST);
const open = signal("");
// What was asked of one ledger says nothing of the next.
effect(() => { if (!S.has.value) { query.value = { ...ALL }; limit.value = FIRST; open.value = ""; } });
/** search.js, once somebody searches, filters, sorts or asks for more */
const seek = signal(null);
/** how to ask the home that answers now; set by main.js @type {(path: string, signal?: AbortSignal) => Promise<any>} */
export let ask = async () => { throw new Error("offline"); };
/** which home that is @type {() => any} */
export let home = () => null;
export const asks = (fn, where) => { ask = fn; home = where; };
const found = computed(() => seek.value?.found.value ?? S.sessions.value), size = computed(() => seek.value?.size.value ?? S.total.value);
/** Are all sessions here, so that nothing need be asked? */
export const complete = computed(() => S.sessions.value.length >= S.total.value);

const seeking = async () => (seek.value ??= await import("./search.js").catch(() => null));
function change(part) { limit.value = FIRST; query.value = { ...query.value, ...part }; seeking(); }
async function more() { limit.value += STEP; (await seeking())?.more(); }
const names = (k, of) => computed(() => { const n = new Map(); for (const v of S.summary.value[k] ?? []) n.set(v, 0); for (const s of S.sessions.value) { const v = of(s); if (v) n.set(v, (n.get(v) ?? 0) + 1); } return [...n].sort((a, b) => b[1] - a[1]).map(([v]) => v).join("\n"); });
const projects = names("projects", (s) => s.project), models = names("models", (s) => s.model), machines = names("", (s) => s.machine);

const Pick = memo(({ k, value, list, label }) => html`<select aria-label=${label} class=${value ? "set" : ""} value=${value} onChange=${(e) => change({ [k]: e.target.value })}>
  <option value="">${label}</option>${list.split("\n").filter(Boolean).map((v) => html`<option value=${v}>${k === "model" ? modelName(v) : shown(v).slice(0, 60)}</option>`)}</select>`);

/** The detail view is loaded when the first one is opened. */
export function Opened({ s }) {
  const [View, set] = useState(null);
  useEffect(() => { styled(import("./detail.js")).then((m) => set(() => m.Detail)).catch(() => set(() => () => html`<p class="quiet">The details could not be loaded. Reload the page to try again.</p>`)); }, []);
  return View ? html`<${View} s=${s} ask=${ask} />` : html`<p class="quiet">Loading…</p>`;
}
const Row = memo(({ s, day, length, isOpen, colour }) => {
  const guess = s.provenance && !["observed", "telemetry"].includes(s.provenance);
  return html`<tr class=${(s.is_active ? "live " : "") + (isOpen ? "open" : "")} onClick=${() => (open.value = isOpen ? "" : s.key)}>
    <td class="num when">${s.is_active ? html`<span class="pulse">Active</span>` : when(s.last, day)}</td>
    <th scope="row"><button class="plain" aria-expanded=${isOpen}>${s.title || s.project ? name(S.called(s)) : html`<span class="quiet">${S.called(s)}</span>`}</button>${s.stale && html` <span class="tag" title="Its tracker says that it is active, but nothing was heard of it for a day">stale</span>`}<span class="sub phone"><i class=${colour} aria-hidden="true"></i> ${name(S.sees("projects") ? s.project || "no project" : modelName(s.model))}${S.sees("machines") && html` · <bdi>${s.machine}</bdi>`}</span></th>
    <td class="proj">${name(s.project || "–")}</td><td class="model" title=${(s.models_used ?? []).join(", ")}><i class=${colour} aria-hidden="true"></i>${modelName(s.model)}</td><td class="mach"><bdi>${s.machine}</bdi></td>
    <td class="num r len">${length}</td><td class=${"num r tok" + (guess ? " guess" : "")} title=${guess ? `${s.provenance}, not measured` : ""}>${guess ? "≈" : ""}${tokens(s.all)}</td><td class="num r cost">${money(s.cost)}</td></tr>
  ${isOpen && html`<tr class="detail"><td colspan="8"><${Opened} s=${s} /></td></tr>`}`;
});
function Head({ id, name, cls }) {
  const q = query.value, on = q.by === id;
  if (/project|machine/.test(id) && !complete.value) return html`<th scope="col" class=${cls}>${name}</th>`;
  return html`<th scope="col" class=${cls} aria-sort=${on ? (q.up ? "ascending" : "descending") : "none"}><button class="plain" onClick=${() => change({ by: id, up: on ? !q.up : false })}>${name}<span class="arrow" aria-hidden="true">${on ? (q.up ? "↑" : "↓") : ""}</span></button></th>`;
}

export function Sessions() {
  const q = query.value, narrow = q.q.trim() || q.project || q.model || q.machine, busy = seek.value?.busy.value, list = found.value, rows = list.slice(0, Math.max(limit.value, Math.min(limit.value + STEP, list.findIndex((s) => s.key === open.value) + 1))), all = size.value, t = S.stale.value ? S.asOf.value : S.minute.value, day = dayOf(t);
  const left = Math.max(0, all - rows.length), sealed = S.seals.value && q.q.trim(), offline = !complete.value && (sealed || S.conn.value.state === "stored");
  if (narrow && !seek.value) seeking(); // it was not to be had before
  return html`<section class="panel sessions" id="sessions" aria-labelledby="h-sess">
    <header><h2 id="h-sess">Sessions</h2><span class="quiet num" role="status">${narrow ? `${count(all)} of ${count(S.total.value)}` : count(S.total.value)}${offline ? `, ${sealed ? "among " : ""}the newest ${count(S.sessions.value.length)}${sealed ? "" : " are kept here"}` : ""}</span><button class="link" popovertarget="exported">Export</button><${Pop} id="exported" of=${() => import("./export.js")} /><span class="grow"></span>
      <label class="search"><span class="sr">Search sessions</span><input id="search" type="search" placeholder=${S.sees("titles") && S.sees("projects") ? "Search title, project, branch" : "Search"} onFocus=${seeking} value=${q.q} onInput=${(e) => change({ q: e.target.value })} onKeyDown=${(e) => { if (e.key === "Escape") { change({ q: "" }); e.target.blur(); } }} /><kbd aria-hidden="true">/</kbd></label>
      ${projects.value && html`<${Pick} k="project" label="Project" value=${q.project} list=${projects.value} />`}${models.value && html`<${Pick} k="model" label="Model" value=${q.model} list=${models.value} />`}${machines.value && html`<${Pick} k="machine" label="Machine" value=${q.machine} list=${machines.value} />`}</header>
    ${list.length === 0 ? html`<p class="none">${busy ? "Searching…" : narrow ? html`No session matches. <button class="link" onClick=${() => change({ q: "", project: "", model: "", machine: "" })}>Clear the filter</button>` : "No session yet."}</p>`
      : html`<table class="list"><thead><tr><${Head} id="last" name="Last active" cls="when" /><th scope="col" class="title">Session</th><${Head} id="project" name="Project" cls="proj" /><th scope="col" class="model">Model</th><${Head} id="machine" name="Machine" cls="mach" /><${Head} id="length" name="Length" cls="r len" /><${Head} id="tokens" name="Tokens" cls="r tok" /><${Head} id="cost" name="Cost" cls="r cost" /></tr></thead>
        <tbody>${rows.map((s) => html`<${Row} key=${s.key} s=${s} day=${day} length=${span(lengthOf(s, t))} isOpen=${open.value === s.key} colour=${S.colour(s.model)} />`)}</tbody></table>`}
    ${left > 0 && list.length > 0 && !(offline && rows.length >= list.length) && html`<button class="more" onClick=${more} disabled=${busy}>${busy ? "Loading…" : html`Show ${Math.min(STEP, left)} more <span class="quiet num">${count(left)} left</span>`}</button>`}
  </section>`;
}
