// What this browser keeps: the last known state in IndexedDB, preferences in localStorage. Never a number
// without its time. Where nothing may be kept (private mode) the page works and keeps nothing.
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
