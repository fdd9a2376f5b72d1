// Alerts while the page is closed: this browser's address at its push service, handed to the relay. Loaded when asked for.
import { prefs } from "./kept.js";
import { ask } from "./sources.js";

/** Ask the relay to reach this browser, or to forget it. Returns whether it will. */
export async function push(home, wanted) {
  const worker = await navigator.serviceWorker.ready, here = await worker.pushManager.getSubscription(), id = prefs.get("push", "");
  if (!wanted) {
    prefs.set("push", "");
    await here?.unsubscribe();
    if (id) await ask(home, "v1/alerts/subscriptions/" + id, { method: "DELETE" });
    return false;
  }
  const { key } = await (await ask(home, "v1/alerts/key")).json();
  const made = here ?? (await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }));
  const answer = await ask(home, "v1/alerts/subscriptions", { method: "POST", body: JSON.stringify(made), headers: { "Content-Type": "application/json" } });
  prefs.set("push", (await answer.json()).id);
  return true;
}
