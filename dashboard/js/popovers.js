// What the header's popovers show: where the data comes from, and the keys.
import { html, useEffect, useState } from "./lib.js";
import * as S from "./store.js";
import { when } from "./format.js";
import { said } from "./header.js";
import { question, self } from "./sources.js";
import { pairs as kept, prefs } from "./kept.js";

const WHY = {
  connecting: "Looking for a source", live: "Straight from the agent on this computer", "relay-live": "Live, through your relay",
  "relay-cached": "The relay answers, but no machine has reported to it lately", stored: "Nothing answers. This is the last state this browser saw",
  none: "Nothing answers, and this browser has no earlier state", sample: "Made-up numbers. Nothing here is yours",
  refused: "The relay does not accept this browser's key any more. Open a new pairing link, or forget the key", locked: "This relay wants a read key. Open its pairing link",
};
const host = (base) => base.replace(/^https?:\/\//, "").replace(/\/$/, "");

const sealed = () => import("./sealed.js");
/** A button that goes with what it forgets: the focus stays in the popover. */
const Forget = ({ label, act }) => html`<button class="link" aria-label=${label} onClick=${(e) => { e.target.closest(".pop").querySelector(".btn").focus(); act(); }}>Forget</button>`;
/** The keys that this browser has, and what the relay says that each is: two of one relay look alike without. A page
 * that a relay serves shows that relay only: keys for another are named, and can be forgotten there. */
function Pairs({ pairs, relay, seal, on }) {
  const foreign = (p) => relay?.base === self && p.relay !== self;
  const [known, set] = useState({});
  useEffect(() => {
    for (const p of pairs) if (!foreign(p)) question({ base: p.relay, key: p.key }, "v1/ping").then((a) => set((old) => ({ ...old, [p.key]: [a.tenant, a.role === "share" ? "shared view" : a.role].filter(Boolean).join(" · ") })), () => {});
  }, [pairs.map((p) => p.key).join()]);
  return html`<ul class="pairs">${pairs.map((p) => {
    const title = p.name || host(p.relay), used = relay?.key === p.key, what = foreign(p) ? "for another relay: not used here" : known[p.key];
    const told = html`<b>${title}</b>${what && html`<span class="what">${what}</span>`}<span class="sub">${p.key.slice(0, 16)}…</span>`;
    return html`<li class=${used ? "on" : ""} key=${p.key}>${foreign(p) ? html`<div class="plain">${told}</div>` : html`<button class="plain" aria-pressed=${used} onClick=${() => on.choose(p)}>${told}</button>`}
      <${Forget} label=${`Forget the key for ${title}${what ? `, ${what}` : ""}`} act=${() => { on.forget(p); if (p.seal) sealed().then((m) => m.start()); }} /></li>`; })}
    ${seal && html`<li key="seal"><div class="plain"><b>Key to sealed names</b><span class="what">never leaves this browser</span></div><${Forget} label="Forget the key to sealed names" act=${() => sealed().then((m) => m.forget())} /></li>`}</ul>`;
}
export function source({ link, pairs, local, on }) {
  S.seals.value; // a key to names came or went
  const seal = prefs.get("seal", "") || kept.all.some((p) => p.seal), c = S.conn.value, relay = link?.relay, at = S.asOf.value;
  const step = (here, title, note) => html`<li class=${here ? "on" : ""}><i aria-hidden="true"></i><div><b>${title}</b><span class="sub">${note}</span></div></li>`;
  return html`<h3>${said(c)}</h3><p class="quiet">${WHY[c.why || c.state] ?? WHY[c.state]}.</p>
    <ol class="chain">${step(c.state === "live", "Agent on this computer", link?.agent ? host(link.agent.base) : local === "prompt" ? "this page may not ask it yet" : local === "silent" ? `no answer; it must be started with --origins ${location.origin}` : "not on this device")}
      ${step(c.state.startsWith("relay"), "Relay", relay ? host(relay.base) : "not paired")}
      ${step(c.state === "stored", "Saved in this browser", at && c.state !== "sample" ? `as of ${when(at, S.clockNow.value)}` : "nothing saved yet")}
      ${step(c.state === "sample", "Sample data", "only when you ask for it")}</ol>
    ${(pairs.length > 0 || seal) && html`<${Pairs} pairs=${pairs} relay=${relay} seal=${seal} on=${on} />`}
    ${(local === "prompt" || local === "silent") && html`<button class="btn second" onClick=${on.local}>Connect to this computer</button>`}
    <button class="btn" onClick=${on.retry}>Try again now</button>`;
}
export function keys() {
  const list = [["/", "Search sessions"], ["Esc", "Clear the search"], ["t", "Theme"], ["1 2 3", "Now, usage, sessions"], ["← →", "Read a chart day by day"], ["?", "This list"]];
  return html`<h3>Keys</h3><dl class="keys-list">${list.map(([k, v]) => html`<div><dt>${k.split(" ").map((x) => html`<kbd>${x}</kbd>`)}</dt><dd>${v}</dd></div>`)}</dl>`;
}
