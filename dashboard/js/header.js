// The mark, where the data comes from, theme, notifications, keys.
import { html, useState, useEffect } from "./lib.js";
import * as S from "./store.js";
import { ago, when, HOUR } from "./format.js";
import { prefs } from "./kept.js";
import { share } from "./scale.js";
import { Notify } from "./alerts.js";

const SAY = /** @type {Record<string, [string, string]>} */ ({
  connecting: ["Connecting", "Looking for a source"],
  live: ["Live", "Straight from the agent on this computer"],
  "relay-live": ["Relay", "Live, through your relay"],
  "relay-cached": ["Relay, cached", "The relay answers, but no machine has reported to it lately"],
  stored: ["Offline", "Nothing answers. This is the last state this browser saw"],
  none: ["Not connected", "Nothing answers, and this browser has no earlier state"],
  sample: ["Sample data", "Made-up numbers. Nothing here is yours"],
});
export function said(c) {
  if (c.why === "refused") return ["Key refused", "The relay does not accept this browser's key any more. Open a new pairing link, or forget the key"];
  if (c.why === "locked" && c.state === "none") return ["Not paired", "This relay wants a read key. Open its pairing link"];
  return SAY[c.state] ?? SAY.connecting;
}
/** How old what is shown is; a component of its own, so that its tick draws nothing else again. */
function Age() {
  const c = S.conn.value.state, at = S.asOf.value;
  if (!at || c === "sample" || c === "none" || c === "connecting") return null;
  const old = S.clockNow.value - at;
  return html`<span class="age num">${old < HOUR ? ago(old) : when(at, S.clockNow.value)}</span>`;
}
const host = (base) => base.replace(/^https?:\/\//, "").replace(/\/$/, "");

export function Badge({ link, pairs, local, on }) {
  const c = S.conn.value, [name, why] = said(c), relay = link?.relay, at = S.asOf.value;
  const step = (here, title, note) => html`<li class=${here ? "on" : ""}><i aria-hidden="true"></i><div><b>${title}</b><span class="sub">${note}</span></div></li>`;
  return html`<button class="badge" data-state=${c.state} popovertarget="source"><i class="glyph" aria-hidden="true"></i><span class="sr">Data source: </span><span>${name}</span><${Age} /></button>
    <div id="source" popover class="pop"><h3>${name}</h3><p class="quiet">${why}.</p>
      <ol class="chain">${step(c.state === "live", "Agent on this computer", link?.agent ? host(link.agent.base) : local === "prompt" ? "this page may not ask it yet" : "not on this device")}
        ${step(c.state.startsWith("relay"), "Relay", relay ? host(relay.base) : "not paired")}
        ${step(c.state === "stored", "Saved in this browser", at && c.state !== "sample" ? `as of ${when(at, S.clockNow.value)}` : "nothing saved yet")}
        ${step(c.state === "sample", "Sample data", "only when you ask for it")}</ol>
      ${pairs.length > 0 && html`<ul class="pairs">${pairs.map((p) => html`<li class=${relay?.key === p.key ? "on" : ""} key=${p.key}><button class="plain" aria-pressed=${relay?.key === p.key} onClick=${() => on.choose(p)}><b>${p.name || host(p.relay)}</b><span class="sub">${p.key.slice(0, 16)}…</span></button><button class="link" onClick=${() => on.forget(p)} aria-label=${`Forget the key for ${p.name || host(p.relay)}`}>Forget</button></li>`)}</ul>`}
      ${local === "prompt" && html`<button class="btn second" onClick=${on.local}>Connect to this computer</button>`}
      <button class="btn" onClick=${on.retry}>Try again now</button></div>`;
}
const NEXT = /** @type {Record<string, string>} */ ({ auto: "light", light: "dark", dark: "auto" });
export function Theme() {
  const [t, set] = useState(prefs.get("theme", "auto"));
  useEffect(() => { document.documentElement.dataset.theme = t; prefs.set("theme", t); }, [t]);
  useEffect(() => {
    const key = (e) => {
      if (e.metaKey || e.ctrlKey || e.altKey || /INPUT|SELECT|TEXTAREA/.test(document.activeElement?.tagName ?? "")) return;
      if (e.key === "t") set((v) => NEXT[v]);
      if (e.key === "?") document.getElementById("keys")?.togglePopover();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  return html`<button class="icon" onClick=${() => set(NEXT[t])} aria-label=${`Theme: ${t}. Switch to ${NEXT[t]}`} title=${`Theme: ${t}`}>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="6.25" class=${t === "dark" ? "o f" : "o"} />${t === "auto" && html`<path d="M8 1.75a6.25 6.25 0 0 1 0 12.5z" class="f" />`}</svg></button>`;
}
export function Keys() {
  const list = [["/", "Search sessions"], ["Esc", "Clear the search"], ["t", "Theme"], ["1 2 3", "Now, usage, sessions"], ["← →", "Read a chart day by day"], ["?", "This list"]];
  return html`<button class="icon keyboard" popovertarget="keys" aria-label="Keyboard shortcuts"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><rect x="1" y="3.5" width="14" height="9" rx="2" class="o" /><path d="M4 6.5h1M7.5 6.5h1M11 6.5h1M5 9.75h6" class="o" /></svg></button>
    <div id="keys" popover class="pop"><h3>Keys</h3><dl class="keys-list">${list.map(([k, v]) => html`<div><dt>${k.split(" ").map((x) => html`<kbd>${x}</kbd>`)}</dt><dd>${v}</dd></div>`)}</dl></div>`;
}
/** The mark is the gauge: a ring filled to the share of the block that is used. */
function Ring() {
  const b = S.block.value, p = b ? share(b, S.recent.value).percent : null;
  return html`<svg viewBox="0 0 22 22" width="22" height="22" aria-hidden="true"><circle cx="11" cy="11" r="8.5" class="track" /><circle cx="11" cy="11" r="8.5" class="arc" pathLength="100" stroke-dasharray=${`${p == null ? 72 : Math.min(100, Math.max(2, p))} 100`} transform="rotate(-90 11 11)" /></svg>`;
}
export function Header(p) {
  return html`<header class="top"><a class="mark" href="#now" aria-label="Session Relay, to the top"><${Ring} /><b>Session Relay</b></a>
    ${p.full && html`<nav aria-label="Sections"><a href="#now">Now</a><a href="#usage">Usage</a><a href="#sessions">Sessions</a></nav>`}
    <span class="grow"></span><${Badge} ...${p} /><${Notify} push=${p.on.push} /><${Theme} /><${Keys} /></header>`;
}
