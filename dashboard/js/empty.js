// First run: one command, what is still missing, and where the first block will be drawn.
import { html, useState } from "./lib.js";
import * as S from "./store.js";
import { clock, HOUR } from "./format.js";
import { useWidth } from "./charts.js";

/** The axes of a block that has not begun. */
function Ghost() {
  const [ref, w] = useWidth(900), h = 150, start = Math.floor(S.minute.value / HOUR) * HOUR, X = (i) => (i / 5) * (w - 2) + 1;
  return html`<div class="ghost" ref=${ref} aria-hidden="true"><svg width=${w} height=${h}>
    ${[0, 1, 2, 3, 4, 5].map((i) => html`<line class="rule" x1=${X(i)} x2=${X(i)} y1="20" y2=${h - 24} /><text class="tick" x=${X(i)} y=${h - 8} text-anchor=${i === 0 ? "start" : i === 5 ? "end" : "middle"}>${w < 360 && i % 2 ? "" : clock(start + i * HOUR)}</text>`)}
    <line class="limit" x1="0" x2=${w} y1="20" y2="20" /><text class="tick" x="1" y="14">Limit</text><line class="pace" x1="1" x2=${w - 1} y1=${h - 24} y2="20" /></svg>
    <p>Your five-hour block is drawn here, with where it is heading.</p></div>`;
}
function Command({ text }) {
  const [done, set] = useState(false);
  const copy = async () => { try { await navigator.clipboard.writeText(text); set(true); setTimeout(() => set(false), 2000); } catch { getSelection()?.selectAllChildren(document.getElementById("cmd") ?? document.body); } };
  return html`<div class="cmd"><code id="cmd">${text}</code><button class="btn" onClick=${copy}>${done ? "Copied" : "Copy"}</button><span class="sr" role="status">${done ? "Copied" : ""}</span></div>`;
}
/** Paste a link or a key: the same as opening the link. */
function Paste({ pair }) {
  const [wrong, set] = useState("");
  const take = async (e) => { e.preventDefault(); const box = e.currentTarget.elements.namedItem("link"), text = box.value; box.value = ""; set(await pair(text)); };
  return html`<form class="cmd paste" onSubmit=${take}><input name="link" type="password" autocomplete="off" spellcheck=${false} aria-label="Pairing link or read key" aria-describedby="paste-wrong" placeholder="Pairing link or read key" /><button class="btn">Connect</button></form>
    <p id="paste-wrong" class="bad" role="alert">${wrong}</p>`;
}
const UNPAIRED = ["Connect this browser", "Open the pairing link that the relay printed, or paste it here. The key stays in this browser."];
/** What a browser that is away from any agent can do. Paired: it has a key, but the relay that it is for is not there. */
const AWAY = {
  refused: ["Connect this browser", "The relay did not accept this browser's key. Make a new one where the relay runs, or paste another link.", "answers, and refuses this browser's key"],
  paired: ["The relay does not answer", "This browser has its key and goes on asking. If the relay runs elsewhere now, paste its new link.", "does not answer"],
  locked: [...UNPAIRED, "answers, and wants a read key"],
  none: [...UNPAIRED, "not paired with this browser"],
};
/** @param {{on: any, here: boolean, local: string, role: string, relay: {key?: string}|null}} p here: served from this computer; local: may an agent here be asked? */
export function Empty({ on, here: loopback, local, role, relay }) {
  const c = S.conn.value, here = c.state === "live", relayed = c.state.startsWith("relay");
  const away = !here && !relayed && (role === "relay" || role === "static" || !loopback), told = AWAY[c.why] ?? AWAY[relay?.key ? "paired" : role === "relay" ? "locked" : "none"];
  const readers = Object.values(S.machines.value[0]?.readers ?? {}), logs = readers.some((r) => r?.state === "ok");
  const [title, text] = here || relayed ? ["Waiting for your first session", here ? "The agent runs and watches for your coding tools. Use one of them once and this page fills in by itself." : "The relay answers. It fills in by itself as soon as an agent with its push key reports a session."]
    : away ? told
    : ["Start the agent", "Run this where you use Claude Code. It reads the session logs already on that machine. Nothing leaves it unless you set up a relay."];
  const step = (state, name, note) => html`<li class=${state}><i aria-hidden="true"></i><div><b>${name}</b><span>${note}</span></div><span class="sr">${state === "ok" ? "done" : state === "wait" ? "waiting" : "to do"}</span></li>`;
  return html`<section class="panel empty" aria-labelledby="h-empty"><div class="say"><h1 id="h-empty">${title}</h1><p>${text}</p>
      ${away ? html`<${Paste} pair=${on.pair} />` : !here && !relayed && html`<${Command} text="python -m local_agent run" />`}
      ${away && local === "prompt" && html`<p class="after"><button class="link" onClick=${on.local}>Connect to this computer</button> asks your browser for permission to reach an agent that runs here.</p>`}
      ${away && local === "silent" && html`<p class="after" role="status">No agent answers on this computer. One that runs must be started with <code>--origins ${location.origin}</code>. <button class="link" onClick=${on.local}>Try again</button></p>`}
      <p class="after">${away || here || relayed ? "" : "This page connects by itself within two seconds. "}<button class="link" onClick=${on.sample}>Look around with sample data</button></p></div>
    <ol class="checks">${away ? step("wait", "Relay", told[2]) : relayed ? step("ok", "Relay", "answers, and accepts this browser's key") : step(here ? "ok" : "wait", "Agent", here ? "running on this computer" : "not running on localhost:3001")}
      ${relayed || away ? step(away ? "todo" : S.machines.value.length ? "ok" : "wait", "Machines", away ? "report to the relay with a push key" : S.machines.value.length ? "reporting" : "none has reported yet") : step(!here ? "todo" : logs ? "ok" : "wait", "Session logs", !here ? "looked up in ~/.claude/projects" : logs ? "found" : "none in ~/.claude/projects yet")}
      ${step((here && logs) || (relayed && S.machines.value.length) ? "wait" : "todo", "First session", "appears here the moment it starts")}</ol></section><${Ghost} />`;
}
