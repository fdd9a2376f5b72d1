// What the bell opens: whether this browser notifies, what the relay told lately, and, for an admin key, of what it tells,
// when and where.
import { html, useEffect, useState } from "./lib.js";
import * as S from "./store.js";
import { label, ms, when } from "./format.js";
import { ask, question } from "./sources.js";
import { prefs } from "./kept.js";
import { turn, wanted } from "./push.js";

/** One rule: its name, words with a place for each number, and what stands in the places. */
const RULES = /** @type {[string, string, [string, string][]][]} */ ([
  ["block", "Block used: at {} %", [["steps", "steps"]]], ["week", "Week used: at {} %", [["steps", "steps"]]],
  ["ahead", "A limit is reached {} min before its reset", [["minutes", "int"]]], ["reset", "A window begins anew after {} % used", [["percent", "int"]]],
  ["day", "A day costs more than $ {}", [["usd", "float"]]], ["runaway", "A session uses {} × the usual", [["factor", "float"]]],
  ["silent", "A machine at work is silent for {} min", [["minutes", "int"]]], ["unreadable", "Data cannot be read for {} min", [["minutes", "int"]]],
  ["key", "A push key expires within {} days", [["days", "int"]]],
]);
/** What was typed as the API wants it; undefined for what is no number.
 * @param {string} kind @param {string} text @returns {any} */
export function typed(kind, text) {
  if (/[^\d.,;\s]/.test(text)) return undefined;
  if (kind === "steps") return [...new Set(text.split(/[\s,;]+/).filter(Boolean).map(Number))].sort((a, b) => a - b);
  return text.trim() === "" ? null : Number(text);
}
const problem = async (e) => e.words ?? (await e.answer?.json().catch(() => null))?.detail ?? "The relay does not answer. Try again.";

function Here({ link }) {
  const [say, set] = useState("");
  if (!("Notification" in globalThis) || !isSecureContext) return html`<p class="sub">Notifications need this page over https.</p>`;
  const on = wanted.value, note = say || (on ? (prefs.get("push", "") ? "Also while this page is closed." : "While this page is open.") : "Off until you switch them on.");
  return html`<button class="row toggle" role="switch" aria-checked=${on} onClick=${async () => set(await turn(link?.relay).catch(() => ""))}><span><b>Notify this browser</b><span class="sub" role="status">${note}</span></span><i aria-hidden="true"></i></button>`;
}
function Rule({ id, text, places, rule, put }) {
  const parts = text.split("{}"), off = rule.on === false || (id === "day" && rule.usd == null);
  const change = (member, kind) => (e) => { const v = typed(kind, e.target.value); put(v === undefined ? "Numbers only, such as 75." : { rules: { [id]: { [member]: v } } }); };
  return html`<li class=${off ? "off" : ""}>${"on" in rule ? html`<input type="checkbox" aria-label=${text.replace(/ ?\{\}/, "")} checked=${rule.on} onChange=${(e) => put({ rules: { [id]: { on: e.target.checked } } })} />` : html`<i></i>`}
    <span>${parts[0]}${places.map(([member, kind], i) => html`<input class=${"num " + kind} aria-label=${`${parts[0]}…${parts[1]}`} inputmode=${kind === "steps" ? "text" : "decimal"} value=${kind === "steps" ? rule[member].join(", ") : rule[member] ?? ""} placeholder="–" onChange=${change(member, kind)} />${parts[i + 1]}`)}</span></li>`;
}
function Quiet({ quiet, put }) {
  const q = quiet ?? { from: "22:00", to: "07:00", urgent: true }, set = (part) => put({ quiet: { ...q, ...part } });
  return html`<li class=${quiet ? "" : "off"}><input type="checkbox" aria-label="Quiet hours" checked=${!!quiet} onChange=${(e) => put({ quiet: e.target.checked ? q : null })} />
    <span>Quiet from <input type="time" aria-label="Quiet from" value=${q.from} disabled=${!quiet} onChange=${(e) => set({ from: e.target.value })} /> to <input type="time" aria-label="Quiet until" value=${q.to} disabled=${!quiet} onChange=${(e) => set({ to: e.target.value })} /></span></li>
    ${quiet && html`<li><input type="checkbox" aria-label="Tell what is urgent all the same" checked=${q.urgent} onChange=${(e) => set({ urgent: e.target.checked })} /><span>but tell what is urgent</span></li>`}`;
}
function Channels({ list, put, trial }) {
  const kept = ({ name, kind, least, on }) => ({ name, kind, least, on });
  const add = async (e) => {
    e.preventDefault();
    const form = e.currentTarget, value = (k) => form.elements.namedItem(k).value.trim();
    if (await put({ channels: [...list.map(kept), { name: value("name"), url: value("url"), kind: /^https?:/.test(value("url")) ? "webhook" : "apprise" }] })) form.reset();
  };
  return html`<h4>Channels</h4>${list.length > 0 && html`<ul class="channels">${list.map((c) => html`<li key=${c.name}><span><b>${c.name}</b><span class="sub"><bdi>${c.url || c.kind}</bdi></span></span><button class="link" onClick=${() => trial(c.name)}>Test</button><button class="link" aria-label=${`Remove ${c.name}`} onClick=${() => put({ channels: list.filter((x) => x !== c).map(kept) })}>Remove</button></li>`)}</ul>`}
    <form onSubmit=${add}><input name="name" required pattern="[a-z0-9][a-z0-9\\-]*" maxlength="32" autocomplete="off" aria-label="Name of a new channel" placeholder="name" /><input name="url" required type="password" autocomplete="off" spellcheck=${false} aria-label="Address: a webhook or an Apprise URL" placeholder="webhook or Apprise URL" /><button class="btn second">Add</button></form>`;
}
/** Names in a text that are sealed, as they are shown. */
const opened = (text) => text.replace(/sealed1\.[\w-]+/g, (name) => label(S.seals.value?.name("title", name) ?? name));
/** What was told lately. */
function Past({ home }) {
  const [list, set] = useState([]);
  useEffect(() => { question(home, "v1/alerts").then((a) => set([...(a.open ?? []), ...(a.past ?? [])].slice(0, 6)), () => set([])); }, [home.base, home.key]);
  return list.length > 0 && html`<h4>Lately</h4><ul class="past">${list.map((e) => html`<li class=${e.level}><i aria-hidden="true"></i><span dir="auto">${opened(e.text)}</span><span class="sub num">${when(ms(e.told ?? e.since), S.minute.value)}</span></li>`)}</ul>`;
}
/** The relay's rules, for whoever may change them. */
function Relay({ home }) {
  const [all, set] = useState(null), [say, tell] = useState("");
  useEffect(() => { question(home, "v1/ping").then((a) => (a.scope === "admin" ? question(home, "v1/alerts/settings") : null)).then(set, () => set(null)); }, [home.base, home.key]);
  if (!all?.rules) return null;
  const post = async (path, method, body) => (await ask(home, path, { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();
  const put = async (change) => {
    try {
      if (typeof change === "string") throw Object.assign(new Error(change), { words: change });
      const now = await post("v1/alerts/settings", "PUT", change), made = now.channels.find((c) => c.secret);
      set(now);
      tell(made ? `Saved. The secret of ${made.name}, shown only now: ${made.secret}` : "Saved.");
      return true;
    } catch (e) { tell(await problem(e)); set((old) => ({ ...old })); return false; }
  };
  const trial = async (channel) => { tell("Sending …"); try { const r = await post("v1/alerts/trial", "POST", { channel }); tell(r.ok ? `Sent to ${channel}.` : `Not sent: ${r.detail}`); } catch (e) { tell(await problem(e)); } };
  return html`<h4>What the relay tells</h4><ul class="rules">${RULES.filter(([id]) => all.rules[id]).map(([id, text, places]) => html`<${Rule} key=${id} id=${id} text=${text} places=${places} rule=${all.rules[id]} put=${put} />`)}<${Quiet} quiet=${all.quiet} put=${put} /></ul>
    <${Channels} list=${all.channels ?? []} put=${put} trial=${trial} /><p class="sub say" role="status">${say}</p>`;
}
export function alerts({ link }) {
  const home = link?.relay;
  return html`<h3>Alerts</h3><${Here} link=${link} />${home?.key && html`<${Past} home=${home} /><${Relay} home=${home} />`}`;
}
