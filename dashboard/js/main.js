// Boot: pairing, source, clock, page.
import { html, render, styled, effect, computed, signal } from "./lib.js";
import * as S from "./store.js";
import { connect } from "./connection.js";
import * as keep from "./kept.js";
import * as source from "./sources.js";
import { Header, links } from "./header.js";
import { Alerts, Strip } from "./alerts.js";
import { Active, Block, Limits, Machines } from "./now.js";
import { pct, span, tokens } from "./format.js";
import { share } from "./scale.js";

const { pairs } = keep, version = signal(0), local = signal("none"), role = signal(keep.prefs.get("role", "")), update = signal(false), wrong = signal("");
let link = /** @type {ReturnType<typeof connect>|null} */ (null);

/** The relay of this page: its own origin when a relay serves it, else the one that was paired. */
function relayFor(is) {
  const own = is === "relay" ? source.self : undefined, p = pairs.current(own);
  return p ? { base: p.relay, key: p.key } : own ? { base: own } : null;
}
/** Under which name the last known state is kept: each key has its own, without its secret. */
const slot = (key = relayFor(role.value)?.key) => key?.split("_")[2] ?? "state";
const save = () => keep.save(() => [S.kept(), slot()]);
/** Pairings change: what came with one key is not shown under another, and goes with it. */
function pairing(change) {
  const before = pairs.all;
  keep.flush();
  change();
  for (const p of before) if (!pairs.all.some((q) => q.key === p.key)) keep.forget(slot(p.key));
  version.value++;
  if (!link) return;
  const gone = S.home.value !== "agent" && relayFor(role.value)?.key !== link.relay?.key;
  if (gone) S.clear(); else if (S.has.value) save();
  link.again(gone);
}
/** Who serves this page; known before the next visit asks. */
function served(by) { role.value = by; keep.prefs.set("role", by); }
/** Take a pairing link or a key. @returns {Promise<string>} why not, or nothing */
async function pair(text) {
  wrong.value = "";
  const p = (await import("./pairing.js")).read(text, source.self);
  if (typeof p === "string") return p;
  const to = p.key ? p : pairs.current();
  pairing(() => { if (to) pairs.add({ ...to, ...(p.seal && { seal: p.seal }) }); else keep.prefs.set("seal", p.seal ?? ""); });
  if (p.seal) (await styled(import("./sealed.js"))).start();
  return "";
}
function start() {
  link = connect({
    self: source.self, hint: role.value, agentFor: source.agentFor, relayFor, ping: source.ping, feed: source.feed, socket: source.socket, subscribe: source.subscribe, early: source.earlyFeed,
    cursor: S.cursor, reporting: S.anyReports, alive: S.alive, visible: () => !document.hidden,
    apply: (feed, base, fresh) => { const ok = S.apply({ home: feed.home ?? (link?.agent?.base === base ? "agent" : "relay"), ...feed }, base, fresh); if (ok) save(); return ok; },
    load: async () => { const id = slot(), old = await keep.load(id), fits = old && id === slot(); if (fits) S.restore(old); return !!fits; },
    role: served,
    status: (s) => { S.conn.value = s; version.value++; },
  });
}
async function sample() {
  const { show } = await import("./sample.js");
  link?.stop();
  link = null;
  await show();
}
const on = {
  retry: () => link?.wake(), pair, sample,
  local: async () => { local.value = (await source.askLocal())?.home === "agent" ? await source.localPermission() : "silent"; link?.again(); },
  choose: (p) => pairing(() => pairs.choose(p)),
  forget: (p) => pairing(() => pairs.forget(p)),
};

// What lies below the fold comes one frame later, in modules of its own.
const later = signal(null);
const empty = signal(null);
async function below() {
  const [u, s] = await Promise.all([import("./usage.js"), import("./sessions.js")]);
  s.asks((path, signal) => source.question(link?.home ?? null, path, signal), () => link?.home ?? null);
  later.value = { ...u, ...s };
}
effect(() => { if (S.has.value && !later.peek()) requestAnimationFrame(() => setTimeout(below)); });

// A key may show a part only: the relay that it is for says which.
let known = "";
effect(() => {
  const { state } = S.conn.value, home = link?.relay, key = (state.startsWith("relay") && home?.key) || "";
  if (state === "live" || state === "sample") S.access.value = null;
  if (known === key) return;
  known = key;
  if (key) source.question(home, "v1/ping").then((a) => { if (known === key) S.access.value = a; }, () => (known = ""));
});

function App() {
  const c = S.conn.value, v = version.value, waiting = !S.has.value && c.state === "connecting", L = later.value;
  const shared = S.access.value?.shows, bare = !waiting && (!S.has.value || (!shared && S.total.value === 0 && !S.block.value && S.days.value.length === 0));
  if (bare && !empty.value) styled(import("./empty.js")).then((m) => (empty.value = m.Empty));
  const E = empty.value, full = !waiting && !bare, strip = html`<${Strip} version=${update.value} wrong=${wrong.value} forget=${() => on.forget(link?.relay)} />`;
  return html`<${Header} link=${link} pairs=${[...pairs.all]} local=${local.value} on=${on} full=${full} v=${v} />
    <main id="now" class=${[S.stale.value && S.has.value && "stale", ...["cost", "machine", "project"].map((part) => !S.sees(part + "s") && part + "less")].filter(Boolean).join(" ")}>
      ${waiting ? html`<h1 class="sr">Session Relay</h1><p class="sr" role="status">Connecting</p>` : bare ? html`${strip}${E && html`<${E} on=${on} here=${source.onThisComputer} local=${local.value} role=${role.value} relay=${link?.relay} />`}`
      : html`<h1 class="sr">Your coding sessions</h1>${strip}<${Alerts} />
        <div class="panel grid">${S.sees("blocks") && html`<${Block} />`}${(S.sees("limits") || S.sees("blocks")) && html`<${Limits} />`}${S.sees("sessions") && html`<${Active} Opened=${L?.Opened} />`}${S.sees("machines") && html`<${Machines} />`}</div>
        ${L && html`${S.sees("totals") && html`<div class="panel grid"><${L.Usage} /><${L.Calendar} /></div>`}${S.sees("sessions") && html`<${L.Sessions} />`}`}`}</main>
    ${full && html`<nav class="tabs" aria-label="Sections, bottom">${links()}${S.sees("machines") && html`<a href="#machines">Machines</a>`}</nav>`}`;
}

// theme.js has taken the key out of the address before anything could read it there.
const given = /** @type {any} */ (window).pairingLink;
if (given) wrong.value = await pair(given);
if (given && !wrong.value && /[#&]key=/.test(given) && !/[#&]relay=/.test(given) && !role.value) served("relay"); // who hands out keys for itself is a relay
source.localPermission().then((p) => (local.value = p));
addEventListener("hashchange", () => { if (/[#&](key|seal)=/.test(location.hash)) { const text = location.hash; history.replaceState(null, "", location.pathname + location.search); pair(text).then((why) => (wrong.value = why)); } });
addEventListener("storage", (e) => { if (e.key?.endsWith(".pairs")) pairing(pairs.read); }); // another tab
start();
const el = (id) => document.getElementById(id), root = /** @type {HTMLElement} */ (el("app"));
root.replaceChildren(); // the bare header that index.html shows until here
render(html`<${App} />`, root);
if (keep.prefs.get("notify", "") === "on" || matchMedia("(display-mode: standalone)").matches) import("./push.js").then((m) => m.watch());

// One clock for the page; it stands still while nobody looks.
let beat = 0;
const clockOn = () => { clearInterval(beat); if (!document.hidden) { S.second(); beat = window.setInterval(S.second, 1000); } };
document.addEventListener("visibilitychange", () => { clockOn(); if (document.hidden) keep.flush(); else link?.wake(); });
addEventListener("online", () => link?.wake());
addEventListener("offline", () => link?.offline());
addEventListener("pageshow", (e) => { if (e.persisted) { pairing(pairs.read); link?.wake(); } });
addEventListener("pagehide", () => keep.flush());
clockOn();

const used = computed(() => { const b = S.block.value; return b ? share(b, S.recent.value) : null; });
effect(() => {
  const b = S.block.value, u = used.value, old = S.stale.value ? "(old) " : "";
  document.title = !b || !u ? "Session Relay" : `${old}${u.kind === "official" ? pct(u.percent) : tokens(b.tokens?.total)} · ${span(b.to - S.minute.value)} left`;
});
// The mark is the gauge: the tab's icon shows how much of the block is used, and that it is red or old.
const whole = computed(() => [used.value?.percent == null ? null : Math.round(used.value.percent), used.value?.kind, S.stale.value].join());
effect(() => {
  const [p, kind, old] = whole.value.split(","), n = Number(p), sure = kind === "official" && old !== "true";
  const c = sure && n >= 100 ? "#d9482b" : sure && n >= 85 ? "#d98a1f" : old === "true" || !p ? "#9aa0a8" : "#5f7fb5";
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="11.5" fill="none" stroke="#9aa0a855" stroke-width="6"/><circle cx="16" cy="16" r="11.5" fill="none" stroke="${c}" stroke-width="6" pathLength="100" stroke-dasharray="${p ? Math.min(100, n) : 0} 100" transform="rotate(-90 16 16)"/></svg>`;
  const icon = /** @type {HTMLLinkElement|null} */ (document.querySelector('link[rel="icon"]'));
  if (icon) icon.href = "data:image/svg+xml," + encodeURIComponent(svg);
});
const go = (id) => () => el(id)?.scrollIntoView();
const KEYS = { 1: go("now"), 2: go("usage"), 3: go("sessions"), t: () => el("theme")?.click(), "?": () => el("keys")?.togglePopover(), "/": () => el("search")?.focus() };
addEventListener("keydown", (e) => {
  const act = KEYS[e.key], typing = e.metaKey || e.ctrlKey || e.altKey || document.activeElement?.matches("input:not([type=radio], [type=checkbox]), select");
  if (act && !typing) { e.preventDefault(); act(); }
});
if ("serviceWorker" in navigator && isSecureContext) {
  const types = /** @type {any} */ (window).trustedTypes, script = "sw.js";
  const url = types ? types.createPolicy("app", { createScriptURL: (u) => { if (u !== script) throw new TypeError(u); return u; } }).createScriptURL(script) : script;
  const was = navigator.serviceWorker.controller;
  navigator.serviceWorker.addEventListener("controllerchange", () => { if (was) update.value = true; });
  // It fetches files of its own: not while the page still loads. A home that is away just then is asked again.
  const keepShell = () => navigator.serviceWorker.register(url).catch(() => setTimeout(keepShell, 60000));
  setTimeout(keepShell, 3000);
}
