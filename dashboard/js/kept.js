// What this browser keeps: the relays it was paired with, the last known state, preferences. Where nothing may be
// kept the page works all the same.
// A key opens one person's or one team's ledger; a browser may hold several.

/** Reads and writes that a browser may refuse: then what is chosen lasts for this visit. @param {() => Storage} storage */
export const shelf = (storage) => ({
  get(k, or) { try { return storage().getItem("session-relay." + k) ?? or; } catch { return or; } },
  set(k, v) { try { storage().setItem("session-relay." + k, v); } catch { /* not kept */ } },
  /** @returns {any[]} */
  list(k) { try { return [...JSON.parse(this.get(k, ""))]; } catch { return []; } },
});
/** @param {ReturnType<typeof shelf>} own */
export function pairings(own) {
  let here = /** @type {Pair[]} */ (own.list("pairs")), chosen = own.get("pair", "");
  const write = (all, key) => { own.set("pairs", JSON.stringify(here = all)); own.set("pair", chosen = key); };
  return {
    get all() { return here; },
    /** Look again: another tab may have paired or forgotten. Which pair is in use stays this tab's own. */
    read() { here = own.list("pairs"); },
    /** The pair in use. @param {string} [relay] only one of this relay */
    current(relay) { const fit = here.filter((p) => !relay || p.relay === relay); return fit.find((p) => p.key === chosen) ?? fit.at(-1) ?? null; },
    add(pair) { write([...here.filter((p) => p.key !== pair.key), { ...here.find((p) => p.key === pair.key), ...pair }], pair.key); },
    choose(pair) { write(here, pair.key); },
    forget(pair) { write(here.filter((p) => p.key !== pair.key), chosen === pair.key ? "" : chosen); },
  };
}

// ---- the last known state of each key, in IndexedDB
const DB = "session-relay", STORE = "last";

/** @returns {Promise<IDBObjectStore>} */
const store = (mode) => new Promise((ok, no) => {
  const open = indexedDB.open(DB, 1);
  open.onupgradeneeded = () => open.result.createObjectStore(STORE);
  open.onsuccess = () => { const t = open.result.transaction(STORE, mode); t.oncomplete = t.onabort = () => open.result.close(); ok(t.objectStore(STORE)); };
  open.onerror = () => no(open.error);
});
/** @param {string} id @returns {Promise<any>} */
export async function load(id) {
  try {
    const s = await store("readonly");
    return await new Promise((ok) => { const r = s.get(id); r.onsuccess = () => ok(r.result?.v === 2 ? r.result : null); r.onerror = () => ok(null); });
  } catch { return null; }
}
let timer = 0, pending = /** @type {null|(() => [any, string])} */ (null);
/** Keep this, at most once in five seconds. @param {() => [any, string]} make what, and under which name */
export function save(make) {
  pending = make;
  timer ||= window.setTimeout(flush, 5000);
}
/** Keep it now: before something else is shown. */
export async function flush() {
  clearTimeout(timer); timer = 0;
  const what = pending?.(); // as it is now, not as it is when the store opens
  pending = null;
  if (what) try { (await store("readwrite")).put(...what); } catch { /* nothing is kept */ }
}
/** @param {string} id */
export async function forget(id) {
  pending = null;
  try { (await store("readwrite")).delete(id); } catch { /* nothing was kept */ }
}
export const prefs = shelf(() => localStorage), pairs = pairings(prefs);
