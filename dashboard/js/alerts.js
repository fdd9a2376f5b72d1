// What needs attention: the strip that says how old the page is, and the server's alerts.
import { html, signal, useState } from "./lib.js";
import * as S from "./store.js";
import { ms, when } from "./format.js";
import { prefs } from "./kept.js";

const gone = signal(/** @type {string[]} */ (JSON.parse(prefs.get("dismissed", "[]"))));
/** A machine that falls silent again is news again. */
export const matter = (a) => (a.id.startsWith("silent/") ? `${a.id}@${a.at}` : a.id);
function dismiss(id) { gone.value = [...gone.value.slice(-49), id]; prefs.set("dismissed", JSON.stringify(gone.value)); }

export function Alerts() {
  const list = S.alerts.value.filter((a) => !gone.value.includes(matter(a))), [all, set] = useState(false), rest = list.length - 3;
  return html`<div class="alerts" role="status">${list.slice(0, all ? list.length : 3).map((a) => html`<p class=${a.level} key=${a.id}><i aria-hidden="true"></i><span dir="auto">${a.text}</span><button class="plain" aria-label=${`Dismiss: ${a.text}`} onClick=${() => dismiss(matter(a))}>✕</button></p>`)}${rest > 0 && html`<button class="link" aria-expanded=${all} onClick=${() => set(!all)}>${all ? "Show fewer" : `${rest} more`}</button>`}</div>`;
}
export function Strip({ leave, version, forget }) {
  const c = S.conn.value, at = S.asOf.value;
  const update = version && html`<div class="strip" role="status">A new version of this page is ready. <button class="link" onClick=${() => location.reload()}>Reload for the new version</button></div>`;
  const a = S.access.value, hidden = ["titles", "projects", "machines", "costs"].filter((k) => !S.sees(k)).join(", ").replace(/, (?=\w+$)/, " and ");
  const shared = a?.shows && html`<div class="strip" role="status"><b>${a.role === "viewer" ? "Viewer" : "Shared view"}</b>${a.expires ? ` · until ${when(ms(a.expires), 0)}` : ""}${hidden && ` · ${hidden} hidden`}</div>`;
  if (c.state === "sample") return html`<div class="strip sample" role="status"><b>Sample data.</b> Made-up numbers, to look around. <button class="link" onClick=${leave}>Leave the sample</button></div>`;
  const made = S.sample.value && html`<div class="strip sample" role="status"><b>Sample data.</b> This source runs on made-up numbers. Nothing here is yours.</div>`;
  if (c.why === "refused") return html`${update}${shared}${made}<div class="strip" role="status">${at > 0 && html`<b>As of ${when(at, S.clockNow.value)}.</b> `}The relay does not accept this browser's key any more. Open a new pairing link, or <button class="link" onClick=${forget}>forget the key</button>.</div>`;
  const sealed = S.seals.value?.note;
  if (!S.stale.value || !at || c.state === "none") return html`${update}${shared}${made}${sealed}`;
  return html`${update}${shared}${made}${sealed}<div class="strip" role="status"><b>As of ${when(at, S.clockNow.value)}.</b> ${c.state === "stored" ? "Nothing answers right now; this page reconnects by itself." : "No machine has reported since."}</div>`;
}
