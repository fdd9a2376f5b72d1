// The mark, where the data comes from, theme, notifications, keys.
import { html, styled, useState } from "./lib.js";
import * as S from "./store.js";
import { ago, when, HOUR } from "./format.js";
import { prefs } from "./kept.js";
import { share } from "./scale.js";

const SAY = { connecting: "Connecting", live: "Live", "relay-live": "Relay", "relay-cached": "Relay, cached", stored: "Offline", none: "Not connected", sample: "Sample data" };
export const said = (c) => (c.why === "refused" ? "Key refused" : c.why === "locked" && c.state === "none" ? "Not paired" : SAY[c.state]);

/** How old what is shown is; a component of its own, so that its tick draws nothing else again. */
function Age() {
  const c = S.conn.value.state, at = S.asOf.value;
  if (!at || c === "sample" || c === "none" || c === "connecting") return null;
  const old = S.clockNow.value - at;
  return html`<span class="age num">${old < HOUR ? ago(old) : when(at, S.clockNow.value)}</span>`;
}
/** What a popover shows is loaded when it first opens. @param {any} of */
export function Pop({ id, of, p }) {
  const [View, set] = useState(null);
  const load = () => View || styled(of()).then((m) => set(() => m[id]));
  return html`<div id=${id} popover class="pop" onBeforeToggle=${load}>${View && html`<${View} ...${p} />`}</div>`;
}
const popovers = () => import("./popovers.js");
function Badge(p) {
  const c = S.conn.value;
  return html`<button class="badge" data-state=${c.state} popovertarget="source"><i class="glyph" aria-hidden="true"></i><span class="sr">Data source: </span><span>${said(c)}</span><${Age} /></button><${Pop} id="source" of=${popovers} p=${p} />`;
}
const NEXT = { auto: "light", light: "dark", dark: "auto" };
function Theme() {
  const [t, set] = useState(prefs.get("theme", "auto")), next = NEXT[t];
  const turn = () => { set(next); document.documentElement.dataset.theme = next; prefs.set("theme", next); };
  return html`<button class="icon" id="theme" onClick=${turn} aria-label=${`Theme: ${t}. Switch to ${next}`} title=${`Theme: ${t}`}>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="6.25" class=${t === "dark" ? "o f" : "o"} />${t === "auto" && html`<path d="M8 1.75a6.25 6.25 0 0 1 0 12.5z" class="f" />`}</svg></button>`;
}
/** Alerts: whether this browser is told, and where the relay tells of what. */
function Bell(p) {
  return html`<button class="icon bell" popovertarget="alerts" aria-label="Alerts and notifications" title="Alerts"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M3.5 11.5V7a4.5 4.5 0 0 1 9 0v4.5l1 1h-11zM6.5 14h3" class="o" /></svg></button><${Pop} id="alerts" of=${() => import("./panel.js")} p=${p} />`;
}
function Keys() {
  return html`<button class="icon keyboard" popovertarget="keys" aria-label="Keyboard shortcuts"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><rect x="1" y="3.5" width="14" height="9" rx="2" class="o" /><path d="M4 6.5h1M7.5 6.5h1M11 6.5h1M5 9.75h6" class="o" /></svg></button><${Pop} id="keys" of=${popovers} />`;
}
/** The mark is the gauge: a ring filled to the share of the block that is used. */
function Ring() {
  const b = S.block.value, p = b ? share(b, S.recent.value).percent : null;
  return html`<svg viewBox="0 0 22 22" width="22" height="22" aria-hidden="true"><circle cx="11" cy="11" r="8.5" class="track" /><circle cx="11" cy="11" r="8.5" class="arc" pathLength="100" stroke-dasharray=${`${p == null ? 72 : Math.min(100, Math.max(2, p))} 100`} transform="rotate(-90 11 11)" /></svg>`;
}
export const links = () => html`<a href="#now">Now</a>${S.sees("totals") && html`<a href="#usage">Usage</a>`}${S.sees("sessions") && html`<a href="#sessions">Sessions</a>`}`;
export function Header(p) {
  return html`<header class="top"><a class="mark" href="#now" aria-label="Session Relay, to the top"><${Ring} /><b>Session Relay</b></a>
    ${p.full && html`<nav aria-label="Sections">${links()}</nav>`}
    <span class="grow"></span><${Badge} ...${p} /><${Bell} ...${p} /><${Theme} /><${Keys} /></header>`;
}
