// Alerts while the page is closed: this browser's address at its push service, handed to the relay. Loaded when asked for.
import { prefs } from "./kept.js";
import { ask } from "./sources.js";

/** Switch alerts on or off, here and at the relay if there is one. Returns why not, or nothing. */
export async function turn(home, wanted) {
  if (wanted && (await Notification.requestPermission()) !== "granted") return "Notifications are blocked for this page in the browser";
  await (wanted ? subscribe : unsubscribe)(home).catch(() => {}); // without a relay alerts come while the page is open
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
