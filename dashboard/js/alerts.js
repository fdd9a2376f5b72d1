// What needs attention: the strip that says how old the page is, and the server's alerts.
import { html, signal, styled } from "./lib.js";
import * as S from "./store.js";
import { when } from "./format.js";
import { useFew } from "./now.js";
import { prefs } from "./kept.js";

const notes = signal(null);
const gone = signal(prefs.list("dismissed"));
/** A machine that falls silent again is news again. */
export const matter = (a) => (a.id.startsWith("silent/") ? `${a.id}@${a.at}` : a.id);
function dismiss(id) { gone.value = [...gone.value.slice(-49), id]; prefs.set("dismissed", JSON.stringify(gone.value)); }

export function Alerts() {
  const list = S.alerts.value.filter((a) => !gone.value.includes(matter(a))), [shown, more] = useFew(list, 3);
  return html`<div class="alerts" role="status">${shown.map((a) => html`<p class=${a.level} key=${a.id}><i aria-hidden="true"></i><span dir="auto">${a.text}</span><button class="plain" aria-label=${`Dismiss: ${a.text}`} onClick=${() => dismiss(matter(a))}>✕</button></p>`)}${more}</div>`;
}
/** How old the page is; and, loaded when there is something of the kind, what is said seldom. @param {any} p for notes.js */
export function Strip(p) {
  const c = S.conn.value, at = S.asOf.value, refused = c.why === "refused", sample = c.state === "sample", Notes = notes.value;
  const seldom = p.version || p.wrong || refused || sample || S.sample.value || S.access.value?.shows;
  if (seldom && !Notes) styled(import("./notes.js")).then((m) => (notes.value = m.Notes), () => {});
  return html`${seldom && Notes && html`<${Notes} ...${p} />`}${!sample && S.seals.value?.note}
    ${S.stale.value && at > 0 && !refused && c.state !== "none" && html`<div class="strip" role="status"><b>As of ${when(at, S.clockNow.value)}.</b> ${c.state === "stored" ? "Nothing answers right now; this page reconnects by itself." : "No machine has reported since."}</div>`}`;
}
