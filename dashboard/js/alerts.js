// What needs attention: the strip that says how old the page is, the server's alerts, and notifications.
import { html, signal, effect, useState } from "./lib.js";
import * as S from "./store.js";
import { when } from "./format.js";
import { prefs } from "./kept.js";
import { share } from "./scale.js";

const gone = signal(/** @type {string[]} */ (JSON.parse(prefs.get("dismissed", "[]"))));
/** A machine that falls silent again is news again. */
const matter = (a) => (a.id.startsWith("silent/") ? `${a.id}@${a.at}` : a.id);
function dismiss(id) { gone.value = [...gone.value.slice(-49), id]; prefs.set("dismissed", JSON.stringify(gone.value)); }

export function Alerts() {
  const list = S.alerts.value.filter((a) => !gone.value.includes(matter(a))), [all, set] = useState(false), rest = list.length - 3;
  return html`<div class="alerts" role="status">${list.slice(0, all ? list.length : 3).map((a) => html`<p class=${a.level} key=${a.id}><i aria-hidden="true"></i><span dir="auto">${a.text}</span><button class="plain" aria-label=${`Dismiss: ${a.text}`} onClick=${() => dismiss(matter(a))}>✕</button></p>`)}${rest > 0 && html`<button class="link" aria-expanded=${all} onClick=${() => set(!all)}>${all ? "Show fewer" : `${rest} more`}</button>`}</div>`;
}
export function Strip({ leave, version, forget }) {
  const c = S.conn.value, at = S.asOf.value;
  const update = version && html`<div class="strip" role="status">A new version of this page is ready. <button class="link" onClick=${() => location.reload()}>Reload for the new version</button></div>`;
  if (c.state === "sample") return html`<div class="strip sample" role="status"><b>Sample data.</b> Made-up numbers, to look around. <button class="link" onClick=${leave}>Leave the sample</button></div>`;
  const made = S.sample.value && html`<div class="strip sample" role="status"><b>Sample data.</b> This source runs on made-up numbers. Nothing here is yours.</div>`;
  if (c.why === "refused") return html`${update}${made}<div class="strip" role="status">${at > 0 && html`<b>As of ${when(at, S.clockNow.value)}.</b> `}The relay does not accept this browser's key any more. Open a new pairing link, or <button class="link" onClick=${forget}>forget the key</button>.</div>`;
  if (!S.stale.value || !at || c.state === "none") return html`${update}${made}`;
  return html`${update}${made}<div class="strip" role="status"><b>As of ${when(at, S.clockNow.value)}.</b> ${c.state === "stored" ? "Nothing answers right now; this page reconnects by itself." : "No machine has reported since."}</div>`;
}

/** Off until the person switches it on. Then alerts come while the page is open somewhere, and through the relay, if
 * there is one, also while it is closed. */
const wanted = signal(prefs.get("notify", "off") === "on" && globalThis.Notification?.permission === "granted");
export function Notify({ push }) {
  const [say, set] = useState(""), label = say || (wanted.value ? "Notifications are on. Switch them off" : "Notifications are off. Switch them on");
  if (!("Notification" in globalThis) || !isSecureContext) return null;
  const turn = async () => {
    const said = await push(!wanted.value).catch(() => "");
    wanted.value = said ? false : !wanted.value;
    prefs.set("notify", wanted.value ? "on" : "off");
    set(said || (wanted.value ? `Notifications are on${prefs.get("push", "") ? ", also while this page is closed" : " while this page is open"}. Switch them off` : ""));
  };
  return html`<button class="icon bell" aria-pressed=${wanted.value} onClick=${turn} aria-label=${label} title=${label}><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M3.5 11.5V7a4.5 4.5 0 0 1 9 0v4.5l1 1h-11zM6.5 14h3" class=${wanted.value ? "o f" : "o"} />${!wanted.value && html`<path d="M2 2l12 12" class="o" />`}</svg></button>`;
}
const told = new Set();
/** New alerts become notifications, one for each subject, and the block's share the badge of the installed app. */
export function watch() {
  effect(() => {
    const list = S.alerts.value, live = S.conn.value.state === "live" || S.conn.value.state === "relay-live";
    const fresh = list.filter((a) => !told.has(matter(a)));
    for (const a of fresh) told.add(matter(a));
    if (!wanted.peek() || !live || !document.hidden) return;
    navigator.serviceWorker?.ready.then((r) => fresh.forEach((a) => r.showNotification("Session Relay", { body: a.text, tag: a.id.replace(/[:/].*$/, ""), icon: "icons/icon-192.png" })));
  });
  effect(() => {
    const b = S.block.value, p = b ? share(b, S.recent.value) : null;
    const n = /** @type {any} */ (navigator);
    if (p?.kind === "official" && p.percent != null) n.setAppBadge?.(Math.round(p.percent))?.catch?.(() => {}); else n.clearAppBadge?.()?.catch?.(() => {});
  });
}
