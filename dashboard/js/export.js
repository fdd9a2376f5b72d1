// What is here as a file: the server makes it, with this page's key and, for sessions and their usage, its filters.
import { html, useState } from "./lib.js";
import * as S from "./store.js";
import { home, query } from "./sessions.js";
import { ask } from "./sources.js";

const KINDS = [["session", "Sessions"], ["usage", "Usage by quarter-hour"], ["block", "Five-hour blocks"], ["day", "Days of sessions no longer kept"]];
const FORMATS = [["csv", "CSV, for a spreadsheet"], ["jsonl", "JSON lines"], ["json", "JSON"]];

/** What to ask for. @param {Query} q */
export function wanted(kind, format, q) {
  const p = new URLSearchParams({ kind, format });
  if (kind === "session" || kind === "usage") for (const k of /** @type {const} */ (["project", "model", "machine"])) if (q[k]) p.set(k, q[k]);
  return "export?" + p;
}
async function save(kind, format) {
  const q = query.peek(), seals = S.seals.peek();
  const answer = await ask(home(), wanted(kind, format, seals ? { ...q, project: seals.project(q.project) } : q));
  const url = URL.createObjectURL(await answer.blob()), a = Object.assign(document.createElement("a"), { href: url, download: `${kind}s.${format}` });
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
export function exported() {
  const [kind, setKind] = useState("session"), [format, setFormat] = useState("csv"), [say, tell] = useState(""), q = query.value;
  const pick = (label, list, value, set) => html`<label>${label}<select value=${value} onChange=${(e) => set(e.target.value)}>${list.map(([id, name]) => html`<option value=${id}>${name}</option>`)}</select></label>`;
  const go = async () => { tell("Making it …"); await save(kind, format).then(() => tell("Saved where this browser keeps downloads."), (e) => tell(e.message === "403" ? "This key does not show that." : "Nothing answers right now. Try again.")); };
  return html`<h3>Export</h3>${pick("What", KINDS, kind, setKind)}${pick("As", FORMATS, format, setFormat)}
    <p class="sub">${(kind === "session" || kind === "usage") && (q.project || q.model || q.machine) ? "Only what the filters show." : "Everything that is kept."}${S.seals.value ? " Names stay sealed in the file." : ""}</p>
    <button class="btn" onClick=${go}>Download</button><p class="sub say" role="status">${say}</p>`;
}
