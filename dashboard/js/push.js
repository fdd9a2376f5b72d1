// Notifications. Off until the person switches them on; then alerts come while the page is open somewhere, and through
// the relay, if there is one, also while it is closed: it gets this browser's address at its push service.
import { signal, effect } from "./lib.js";
import * as S from "./store.js";
import { matter } from "./alerts.js";
import { prefs } from "./kept.js";
import { share } from "./scale.js";
import { ask } from "./sources.js";

export const wanted = signal(prefs.get("notify", "off") === "on" && globalThis.Notification?.permission === "granted");

/** Switch notifications on or off, here and at the relay if there is one. Returns why not, or nothing. */
export async function turn(home) {
  const on = !wanted.value;
  if (on && (await Notification.requestPermission()) !== "granted") return "Notifications are blocked for this page in the browser.";
  await (on ? subscribe : unsubscribe)(home).catch(() => {}); // without a relay alerts come while the page is open
  wanted.value = on;
  prefs.set("notify", on ? "on" : "off");
  watch();
  return "";
}
async function subscribe(home) {
  const { key } = await (await ask(home, "v1/alerts/key")).json(), { pushManager } = await navigator.serviceWorker.ready;
  const made = (await pushManager.getSubscription()) ?? (await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }));
  const answer = await ask(home, "v1/alerts/subscriptions", { method: "POST", body: JSON.stringify(made), headers: { "Content-Type": "application/json" } });
  prefs.set("push", (await answer.json()).id);
}
async function unsubscribe(home) {
  const id = prefs.get("push", ""), here = await (await navigator.serviceWorker.ready).pushManager.getSubscription();
  prefs.set("push", "");
  await here?.unsubscribe();
  if (id) await ask(home, "v1/alerts/subscriptions/" + id, { method: "DELETE" });
}
const told = new Set();
let watching = false;
/** New alerts become notifications, one for each subject, and the block's share the badge of the installed app. */
export function watch() {
  if (watching) return;
  watching = true;
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
