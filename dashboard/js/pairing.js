// Relays this browser was paired with, and the link that pairs it. Pure but for the storage handed in.
//
// A link carries its key behind the #, which no server ever sees; theme.js takes it out of the address before
// anything else runs. A key opens one person's or one team's ledger; a browser may hold several.

/** @typedef {{relay: string, key: string, name: string}} Pair */
const KEY = /^sr_(read|admin|push)_([A-Za-z0-9-]{8,})_[A-Za-z0-9]+_[0-9a-f]{8}$/;
const PAIRS = "session-relay.pairs", CHOSEN = "session-relay.pair";

/** An address as every other part uses it: ending in a slash; "" when it may not be used.
 * Only a relay on this computer may be plain http: a key must not cross a network in the open. */
export function baseOf(text) {
  try {
    const u = new URL(text);
    const local = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(u.hostname);
    if (u.protocol !== "https:" && !(u.protocol === "http:" && local)) return "";
    return u.origin + u.pathname.replace(/\/?$/, "/");
  } catch { return ""; }
}
/** What a link or a pasted text asks for: a pair, or a sentence that says why not.
 * @param {string} text "#relay=…&key=…", a whole link, or a bare key @param {string} self the page's own base @returns {Pair|string} */
export function read(text, self) {
  const t = text.trim();
  const part = t.includes("#") ? t.slice(t.indexOf("#") + 1) : KEY.test(t) ? "key=" + t : t;
  const p = new URLSearchParams(part), key = p.get("key") ?? "";
  const host = p.get("relay") ?? (t.includes("#") && /^https?:/.test(t) ? t.slice(0, t.indexOf("#")) : "");
  // A page that a relay serves over plain http is already what the person trusts: its own base needs no rule.
  const relay = !host || host === self ? self : baseOf(host);
  const m = key.match(KEY);
  if (!m) return "That is not a key of this product. Copy the whole link.";
  if (m[1] === "push") return "That key is for an agent. This page needs a read key.";
  if (!relay) return "The relay's address must begin with https://";
  return { relay, key, name: p.get("name")?.slice(0, 60) ?? "" };
}
export function pairings(storage) {
  /** @returns {Pair[]} */
  const list = () => { try { return JSON.parse(storage.getItem(PAIRS) ?? "[]"); } catch { return []; } };
  const write = (all) => { try { storage.setItem(PAIRS, JSON.stringify(all)); } catch { /* private mode: kept for this visit only */ } };
  let here = list();
  const chosen = () => { try { return storage.getItem(CHOSEN); } catch { return null; } };
  return {
    get all() { return here; },
    /** The pair in use. @param {string} [relay] only one of this relay */
    current(relay) { const fit = here.filter((p) => !relay || p.relay === relay); return fit.find((p) => p.key === chosen()) ?? fit[fit.length - 1] ?? null; },
    add(pair) { here = [...here.filter((p) => p.key !== pair.key), pair]; write(here); this.choose(pair); },
    choose(pair) { try { storage.setItem(CHOSEN, pair.key); } catch { /* as above */ } },
    forget(pair) { here = here.filter((p) => p.key !== pair.key); write(here); if (chosen() === pair.key) try { storage.removeItem(CHOSEN); } catch { /* as above */ } },
  };
}
