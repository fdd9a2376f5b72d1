// What is said seldom, above everything else: a new version, a link that is wrong, a key that is refused, whose view this
// is, and that numbers are made up. Loaded when there is something of the kind.
import { html } from "./lib.js";
import * as S from "./store.js";
import { ms, when } from "./format.js";

const strip = (words, how = "") => html`<div class=${"strip" + how} role="status">${words}</div>`;
/** What a key shows, when it is not everything. */
function Shared() {
  const a = S.access.value, hidden = ["titles", "projects", "machines", "costs"].filter((k) => !S.sees(k)).join(", ").replace(/, (?=\w+$)/, " and ");
  return a?.shows && strip(html`<b>${a.role === "viewer" ? "Viewer" : "Shared view"}</b>${a.expires ? ` · until ${when(ms(a.expires), 0)}` : ""}${hidden && ` · ${hidden} hidden`}`);
}
/** @param {{version: boolean, wrong: string, forget: () => void}} p version: a new one is here; wrong: with the link that was opened */
export function Notes({ version, wrong, forget }) {
  const c = S.conn.value, at = S.asOf.value;
  if (c.state === "sample") return strip(html`<b>Sample data.</b> Made-up numbers, to look around. <button class="link" onClick=${() => { location.href = location.pathname; }}>Leave the sample</button>`, " sample");
  return html`${version && strip(html`A new version of this page is ready. <button class="link" onClick=${() => location.reload()}>Reload for the new version</button>`)}
    ${wrong && html`<div class="strip" role="alert">${wrong}</div>`}<${Shared} />
    ${S.sample.value && strip(html`<b>Sample data.</b> This source runs on made-up numbers. Nothing here is yours.`, " sample")}
    ${c.why === "refused" && strip(html`${at > 0 && html`<b>As of ${when(at, S.clockNow.value)}.</b> `}The relay does not accept this browser's key any more. Open a new pairing link, or <button class="link" onClick=${forget}>forget the key</button>.`)}`;
}
