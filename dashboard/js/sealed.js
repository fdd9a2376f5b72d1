// Names that were sealed on the machine that knows them: opened here, with a key that came behind the # of a link and
// that no server ever sees. Loaded when there is a sealed name, or such a key.
import { html } from "./lib.js";
import * as S from "./store.js";
import { isSealed } from "./format.js";
import { pairs, prefs } from "./kept.js";

const KINDS = /** @type {const} */ (["title", "project", "git_branch"]);
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const words = (text) => new TextEncoder().encode(text);

/** The key that opens, from the one that a person has. @param {string} seal 43 letters @param {SubtleCrypto} subtle */
export async function keyOf(seal, subtle = crypto.subtle) {
  const base = await subtle.importKey("raw", bytes(seal), "HKDF", false, ["deriveKey"]);
  return subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: words("session-relay seal v1 encrypt") }, base, { name: "AES-GCM", length: 256 }, false, ["decrypt"]);
}
/** The name again; throws when it was sealed with another key, or as another kind of name. */
export async function opened(kind, sealed, key, subtle = crypto.subtle) {
  const all = bytes(sealed.slice("sealed1.".length));
  const plain = await subtle.decrypt({ name: "AES-GCM", iv: all.subarray(0, 12), additionalData: words(kind) }, key, all.subarray(12));
  return new TextDecoder().decode(plain).replace(/\0+$/, "");
}

const SHUT = html`<div class="strip" role="status"><b>Some names are sealed.</b> The link that <code>python -m local_agent seal</code> prints on the machine that sealed them opens them in this browser.</div>`;
/** What shows a state with its names opened. Names are opened one after the other and then *news* is told; until then,
 * and where no key fits, they stay as they are.
 * @param {Promise<any>[]} keys @param {() => void} news */
export function opener(keys, news, open = opened) {
  const known = new Map(), back = new Map();
  let todo = /** @type {[string, string][]} */ ([]), shut = false, rows = new WeakMap(), sums = new WeakMap();
  async function work() {
    const now = todo;
    todo = [];
    let some = false;
    const before = shut;
    await Promise.all(now.map(async ([kind, text]) => {
      for (const each of keys) try { const t = await open(kind, text, await each); known.set(kind + text, t); back.set(kind + t, text); some = true; return; } catch { /* another key, or none */ }
      shut = true;
    }));
    if (some || shut !== before) { rows = new WeakMap(); sums = new WeakMap(); news(); }
  }
  function name(kind, text) {
    if (!isSealed(text)) return text;
    if (!known.has(kind + text)) { known.set(kind + text, text); if (todo.push([kind, text]) === 1) queueMicrotask(work); }
    return known.get(kind + text);
  }
  function row(s) {
    let r = rows.get(s);
    if (!r) rows.set(s, (r = { ...s, ...Object.fromEntries(KINDS.map((k) => [k, name(k, s[k])])) }));
    return r;
  }
  const day = (d) => (Object.keys(d.projects ?? {}).some(isSealed) ? { ...d, projects: Object.fromEntries(Object.entries(d.projects).map(([p, v]) => [name("project", p), v])) } : d);
  return {
    name,
    /** What to say while names are here that no key opens. */
    get note() { return shut ? SHUT : null; },
    sessions: (list) => list.map(row),
    /** @param {any} s */
    summary(s) {
      let r = sums.get(s);
      if (!r) sums.set(s, (r = { ...s, projects: s.projects?.map((p) => name("project", p)), days: s.days?.map(day) }));
      return r;
    },
    /** The sealed text of a project that was opened here. */
    project: (text) => back.get("project" + text) ?? text,
  };
}

/** Forget every key that opens names: they are sealed again at once. What came with a read key leaves it that. */
export function forget() {
  const chosen = pairs.current();
  prefs.set("seal", "");
  for (const p of pairs.all) pairs.add({ ...p, seal: undefined });
  if (chosen) pairs.choose(chosen);
  start();
}
// Another tab took a key or forgot one.
globalThis.addEventListener?.("storage", (e) => { if (/\.(pairs|seal)$/.test(e.key ?? "")) start(); });

let turn = 0;
/** Open what this browser has keys for, from now on. */
export function start() {
  const mine = ++turn, seals = [...new Set([prefs.get("seal", ""), ...pairs.all.map((p) => p.seal)])].filter((k) => typeof k === "string" && /^[\w-]{43}$/.test(k));
  const keys = globalThis.crypto?.subtle ? seals.map((k) => keyOf(k)) : [];
  const made = opener(keys, () => { if (mine === turn) { S.seals.value = { ...made }; S.draw(); } });
  S.seals.value = made;
  if (S.has.peek()) S.draw();
}
