// What this browser keeps: the relays it was paired with, the last known state, preferences. Where nothing may be
// kept (private mode) the page works all the same.
// A key opens one person's or one team's ledger; a browser may hold several.

/** @typedef {{relay: string, key: string, name: string, seal?: string}} Pair */
const PAIRS = "session-relay.pairs", CHOSEN = "session-relay.pair";

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
    add(pair) { here = [...here.filter((p) => p.key !== pair.key), { ...here.find((p) => p.key === pair.key), ...pair }]; write(here); this.choose(pair); },
    choose(pair) { try { storage.setItem(CHOSEN, pair.key); } catch { /* as above */ } },
    forget(pair) { here = here.filter((p) => p.key !== pair.key); write(here); if (chosen() === pair.key) try { storage.removeItem(CHOSEN); } catch { /* as above */ } },
  };
}

// ---- the last known state, in IndexedDB
const DB = "session-relay", STORE = "last", ID = "state";

/** @returns {Promise<IDBObjectStore>} */
const store = (mode) => new Promise((ok, no) => {
  const open = indexedDB.open(DB, 1);
  open.onupgradeneeded = () => open.result.createObjectStore(STORE);
  open.onsuccess = () => { const t = open.result.transaction(STORE, mode); t.oncomplete = t.onabort = () => open.result.close(); ok(t.objectStore(STORE)); };
  open.onerror = () => no(open.error);
});
/** @returns {Promise<any>} */
export async function load() {
  try {
    const s = await store("readonly");
    return await new Promise((ok) => { const r = s.get(ID); r.onsuccess = () => ok(r.result?.v === 2 ? r.result : null); r.onerror = () => ok(null); });
  } catch { return null; }
}
let timer = 0, pending = /** @type {null|(() => any)} */ (null);
/** Keep this, at most once in five seconds. */
export function save(make) {
  pending = make;
  timer ||= window.setTimeout(flush, 5000);
}
export async function flush() {
  clearTimeout(timer); timer = 0;
  const make = pending;
  pending = null;
  if (make) try { (await store("readwrite")).put(make(), ID); } catch { /* nothing is kept */ }
}
export async function forget() {
  pending = null;
  try { (await store("readwrite")).delete(ID); } catch { /* nothing was kept */ }
}
export const prefs = {
  get(k, or) { try { return localStorage.getItem("session-relay." + k) ?? or; } catch { return or; } },
  set(k, v) { try { localStorage.setItem("session-relay." + k, v); } catch { /* not kept */ } },
};
