// The top of the page: the current block, limits, what runs now, machines.
import { html, memo, name, useLayoutEffect, useRef, useState } from "./lib.js";
import * as S from "./store.js";
import { ago, clock, dateOf, dayShort, HOUR, lengthOf, modelName, money, ms, pct, plural, span, tokens, toolName, until, when, windowHours } from "./format.js";
import { Blocks, BlockChart, Meter, Spark } from "./charts.js";
import { share, verdict } from "./scale.js";

const BASIS = {
  derived: ["worked out", "The tool did not say when this block began: it was worked out from the times of your requests."],
  declared: ["as declared", "Begin and end are what a tracker database says."],
};

function Figures({ b, s }) {
  const used = s.kind === "official"
    ? html`<b elementtiming="useful">${pct(s.percent)}</b><span>of plan limit</span>`
    : html`<b elementtiming="useful">${tokens(b.tokens?.total)}</b><span>tokens so far</span>`;
  const left = b.to - S.minute.value;
  return html`<div class="figures"><p class="big">${used}</p>
    <p class="big"><b>${left > 0 ? span(left) : "–"}</b><span>${left > 0 ? `left, resets ${clock(b.to)}` : `ended ${clock(b.to)}`}</span></p></div>`;
}
function Mix({ models }) {
  const top = models.slice(0, models.length > 3 ? 2 : 3), rest = models.slice(top.length); // more than three names do not fit
  const list = rest.length ? [...top, { tokens: rest.reduce((a, m) => a + m.tokens, 0), cost: rest.reduce((a, m) => a + (m.cost ?? 0), 0) }] : top;
  const name = (m) => (m.model == null ? plural(rest.length, "other") : modelName(m.model)), c = (m) => (m.model == null ? "c-other" : S.colour(m.model));
  return html`<div class="wide"><dt>Models</dt><dd class="mix" aria-hidden="true">${list.map((m) => html`<span class=${c(m)} style=${{ flexGrow: Math.max(m.tokens, 1) }}></span>`)}</dd>
    <dd class="sub keys">${list.map((m) => html`<span title=${m.model ?? ""}><i class=${c(m)} aria-hidden="true"></i><em>${name(m)}</em><b class="num">${S.sees("costs") ? money(m.cost) : tokens(m.tokens)}</b></span>`)}</dd></div>`;
}
/** Two minutes as one: half as many bars are twice as calm. */
const paired = (v) => v.flatMap((n, i) => (i % 2 ? [(v[i - 1] + n) / 2] : []));
/** Between blocks: what the last one came to. */
function Last({ list }) {
  const r = list.filter((x) => !x.gap).at(-1), end = ms(r?.end);
  return r && end != null && html`<dl class="stats"><div><dt>Last block</dt><dd class="num">${tokens(r.tokens)}</dd><dd class="sub num">ended ${when(end, S.minute.value)}</dd></div><div class="cost"><dt>Cost</dt><dd class="num">${money(r.cost)}</dd><dd class="sub">${r.reached ? "reached the limit" : "at list prices"}</dd></div></dl>`;
}
export function Block() {
  const b = S.block.value, recent = S.recent.value;
  if (!b) return html`<section class="cell block" aria-labelledby="h-block"><header><h2 id="h-block">Current block</h2></header>
    <p class="quiet">No block is open. The next message starts one; it lasts five hours.</p><${Last} list=${recent} /></section>`;
  const s = share(b, recent), v = verdict(b, recent), t = b.tokens ?? {}, cached = (t.cache_read ?? 0) + (t.cache_write ?? 0), p = b.projection, basis = BASIS[b.basis];
  return html`<section class=${"cell block by-" + s.kind} aria-labelledby="h-block">
    <header><h2 id="h-block">Current block</h2><span class="quiet num">${clock(b.from)} – ${clock(b.to)}</span>${basis && html`<span class="tag" title=${basis[1]}>${basis[0]}</span>`}<span class=${"verdict " + v.tone}>${v.text}</span></header>
    <div class="hero"><${Figures} b=${b} s=${s} /><${BlockChart} b=${b} recent=${recent} /></div>
    <dl class="stats">
      ${s.kind === "official" || s.percent == null
        ? html`<div><dt>Tokens</dt><dd class="num">${tokens(t.total)}</dd><dd class="sub num">${tokens(t.input ?? 0)} in · ${tokens(t.output ?? 0)} out${t.total && html`<span class="then">${pct((100 * cached) / t.total)} cache</span>`}</dd></div>`
        : html`<div><dt>Of your largest block</dt><dd class="num guess">≈${s.percent > 300 ? Math.round(s.percent / 100) + "×" : pct(s.percent)}</dd><dd class="sub">a guess: no plan limit is known</dd></div>`}
      <div class="cost"><dt>Cost</dt><dd class="num">${money(b.cost)}</dd><dd class="sub num">${p?.cost != null ? `${money(p.cost)} at reset` : "at list prices"}</dd></div>
      <div class="rate"><dt>Burn rate</dt><dd class="num">${tokens(b.burn?.tokens_per_minute)}<small>/min</small></dd><dd class="sub num cost">${money(b.burn?.cost_per_hour)}/h</dd>
        ${b.burn?.series?.some(Boolean) && html`<dd class="plot"><${Spark} v=${paired(b.burn.series)} w=${90} h=${44} label="Tokens per minute since the block began" /></dd>`}</div>
      <${Mix} models=${[...(b.models ?? [])].sort((x, y) => (y.cost ?? 0) - (x.cost ?? 0) || y.tokens - x.tokens)} />
    </dl></section>`;
}

/** One limit with its pace; a window that has reset since, or was seen long ago, says so. */
function Limit({ l, t }) {
  const resets = ms(l.resets_at), seen = ms(l.observed_at), hours = windowHours(l.window), over = resets != null && resets <= t;
  const old = over || (seen != null && t - seen > 6 * HOUR);
  const pace = over ? null : resets != null && hours ? 100 - ((resets - t) / (hours * HOUR)) * 100 : l.pace_percent;
  const ahead = pace == null ? null : l.percent - pace, out = ms(l.runs_out_at);
  const words = over ? "has reset since, not seen again yet" : old ? `seen ${ago(t - (seen ?? t))}` : ahead == null ? "" : ahead > 2 ? `${plural(Math.round(ahead), "point")} ahead of pace` : ahead < -2 ? `${plural(Math.round(-ahead), "point")} in hand` : "on pace";
  return html`<li class=${old ? "old" : ""}><div class="row"><span>${l.label}</span><b class="num">${pct(l.percent)}</b></div>
    <${Meter} value=${l.percent} pace=${pace} label=${l.label} tone=${old ? "" : l.percent >= 95 ? "bad" : (ahead ?? 0) > 8 || out ? "warn" : ""} />
    <div class="row sub"><span>${words}</span><span class="num">${resets == null ? "" : over ? `reset ${ago(t - resets)}` : until(resets, t)}</span></div></li>`;
}
/** @param {{alone: boolean}} p alone: no limits stand above */
function Recent({ alone }) {
  const b = S.block.value, list = S.recent.value.filter((r) => !r.gap && !(b && (ms(r.end) === b.to || ms(r.start) === b.from)));
  if (!list.length) return alone && html`<p class="quiet">No block has ended yet.</p>`;
  // Shares of a limit and shares of the largest block do not stand side by side: then tokens are what can be compared.
  const all = b ? [...list, b] : list, used = (r) => (r === b ? b.tokens?.total : r.tokens) ?? 0, known = all.every((r) => r.percent_basis === "official"), most = Math.max(1, ...all.map(used));
  const bars = all.map((r) => ({ v: known ? r.percent ?? 0 : (100 * used(r)) / most, hit: r.reached, now: r === b }));
  const hit = list.filter((r) => r.reached).length;
  const note = known ? `${hit || "none"} of ${list.length} reached the limit` : `by tokens, up to ${tokens(most)}${hit ? `; ${hit} reached a limit` : ""}`;
  return html`<div class=${alone ? "" : "more-of"}><div class="row">${!alone && html`<h3>Recent blocks</h3>`}<span class="sub num recent-note">${note}</span></div>
    <${Blocks} list=${bars} label=${`The last ${list.length} blocks, share used: ${bars.map((r) => pct(r.v)).join(", ")}`} /></div>`;
}
export function Limits() {
  const t = S.minute.value, list = S.limits.value.filter((l) => windowHours(l.window) !== 5 || S.block.value?.percent_basis !== "official");
  const weekly = list.every((l) => windowHours(l.window) === 168);
  return html`<section class="cell limits" aria-labelledby="h-limits"><header><h2 id="h-limits">${!S.sees("limits") ? "Recent blocks" : weekly ? "Weekly limits" : "Limits"}</h2></header>
    ${!S.sees("limits") ? null : list.length === 0 ? html`<p class="quiet">No plan limit has been reported yet. Claude Code tells its status line; this keeps what it tells: <code>python -m local_agent statusline install</code></p>`
      : html`<ul>${list.map((l) => html`<${Limit} key=${l.key} l=${l} t=${t} />`)}</ul>`}${S.sees("blocks") && html`<${Recent} alone=${!S.sees("limits")} />`}</section>`;
}

/** For a row that may go while it has the focus: the next one takes it, or else the heading. */
function useHeir() {
  const ref = useRef(null);
  useLayoutEffect(() => () => {
    const row = ref.current;
    if (row.matches(":focus-within")) (row.nextElementSibling ?? row.closest("section")).querySelector("button, h2").focus();
  }, []);
  return ref;
}
const ActiveRow = memo(({ s, t, colour, isOpen, onOpen, Opened }) => html`<li ref=${useHeir()} class=${isOpen ? "open" : ""}><div class="line" onClick=${() => onOpen(isOpen ? "" : s.key)}>
  <div class="who"><i class=${"dot " + colour} title=${modelName(s.model)}></i><div><button class="plain" aria-expanded=${isOpen}>${name(S.called(s))}</button><span class="sub">${name(s.title && S.sees("projects") ? s.project || "no project" : toolName(s.session_type))}${s.git_branch && html` <em>${name(s.git_branch)}</em>`}</span></div></div>
  <span class="sub mach"><bdi>${s.machine}</bdi></span>
  <${Spark} v=${s.activity ?? []} w=${84} h=${22} label="Tokens in the last quarter-hours" />
  <span class="ctx" title="Context window used">${s.context?.percent != null ? html`<${Meter} value=${s.context.percent} label="Context window used" tone=${s.context.percent > 80 ? "warn" : ""} /><small class="num">${pct(s.context.percent)}</small>` : html`<span class="quiet">–</span>`}</span>
  <span class="num r tok">${tokens(s.all)}</span><span class="num r cost">${money(s.cost)}</span><span class="num r sub len">${s.start ? span(lengthOf(s, t)) : "–"}</span></div>${isOpen && Opened && html`<${Opened} s=${s} />`}</li>`);

/** The first few of a list, and a button for the rest. @returns {[any[], any]} */
export function useFew(list, n) {
  const [all, set] = useState(false), rest = list.length - n;
  return [all ? list : list.slice(0, n), rest > 0 && html`<button class="link few" aria-expanded=${all} onClick=${() => set(!all)}>${all ? "Show fewer" : `Show ${rest} more`}</button>`];
}
/** @param {{Opened?: any}} p what shows one session, once it is here */
export function Active({ Opened }) {
  const [open, setOpen] = useState("");
  const list = S.active.value, old = S.stale.value, t = old ? S.asOf.value : S.minute.value, [shown, more] = useFew(list, 6);
  const last = S.sessions.value[0]?.last;
  return html`<section class="cell active" aria-labelledby="h-active"><header><h2 id="h-active" tabindex="-1">${old ? `Active at ${S.ofToday.value ? "" : dayShort(dateOf(t)) + ", "}${clock(t)}` : "Active now"}</h2><span class="quiet num">${list.length}</span></header>
    ${list.length === 0 ? html`<p class="quiet">${old ? "Nothing was running." : "Nothing is running."}${last ? ` Last active ${when(last, t)}.` : ""}</p>`
      : html`<div class="heads sub" aria-hidden="true"><span></span><span class="mach">Machine</span><span>Activity</span><span class="ctx-h">Context</span><span class="r">Tokens</span><span class="r cost">Cost</span><span class="r len">Time</span></div>
        <ul>${shown.map((s) => html`<${ActiveRow} key=${s.key} s=${s} t=${t} colour=${S.colour(s.model)} isOpen=${open === s.key} onOpen=${setOpen} Opened=${Opened} />`)}</ul>${more}`}</section>`;
}

function Machine({ m, alone, t, day }) {
  const seen = ms(m.last_seen), state = m.state ?? (m.online ? "ok" : "silent"), on = m.online && state !== "silent";
  const os = [m.os, m.version && `agent ${m.version}`].filter(Boolean).join(" · ");
  return html`<li class=${on ? state : "off"}><i class="state" aria-hidden="true"></i>
    <div class="grow"><b><bdi>${m.name || m.source}</bdi></b>${alone && html` <small class="tag">this one</small>`}<span class="sub" title=${os}>${m.note && state === "attention" ? html`<span class="warn">${m.note}</span>` : os || "no details"}</span></div>
    <div class="r"><span class="num">${on ? (m.active ? `${m.active} active` : "idle") : "offline"}</span><span class="sub num">${on ? m.today_cost != null && `${money(m.today_cost)} ${day}` : seen ? `seen ${ago(t - seen)}` : "never seen"}</span></div></li>`;
}
export function Machines() {
  const t = S.minute.value, list = S.machines.value, [shown, more] = useFew(list, 6), alone = S.home.value === "agent" && list.length === 1, day = S.ofToday.value ? "today" : "that day";
  return html`<section class="cell machines" id="machines" aria-labelledby="h-mach"><header><h2 id="h-mach">Machines</h2>${list.length > 0 && html`<span class="quiet num">${list.filter((m) => m.online).length} of ${list.length} online</span>`}</header>
    ${list.length === 0 ? html`<p class="quiet">No machine has reported yet.</p>` : html`<ul>${shown.map((m) => html`<${Machine} key=${m.source} m=${m} alone=${alone} t=${t} day=${day} />`)}</ul>${more}`}</section>`;
}
