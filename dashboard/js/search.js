// What the list of sessions shows when it is searched, filtered, sorted or longer than what is here.
import { signal, computed, effect } from "./lib.js";
import * as S from "./store.js";
import { session } from "./feed.js";
import { asked, filtered, search, union } from "./query.js";
import { ask, complete, limit, query } from "./sessions.js";

const STEP = 50;
/** what the server answered to this query: rows so far and where they go on */
const remote = signal(/** @type {{q: any, rows: any[], next: string|null, total: number}|null} */ (null));
export const busy = signal(false);
const local = computed(() => search(S.sessions.value, query.value));
const answer = computed(() => (!complete.value && remote.value?.q === query.value ? remote.value : null));
export const found = computed(() => (answer.value ? union(local.value, S.seals.value?.sessions(answer.value.rows) ?? answer.value.rows, query.value) : local.value));
export const size = computed(() => answer.value?.total ?? (filtered(query.value) || complete.value ? local.value.length : S.total.value));

/** Words in sealed names can only be found here, and are nobody's business elsewhere. */
const secret = (q) => !!(S.seals.peek() && q.q.trim());
// With other keys than before, or none, what was picked by an opened name is not asked for in the open.
let opener = S.seals.peek()?.name;
effect(() => { const now = S.seals.value?.name; if (opener && now !== opener) query.value = { ...query.peek(), project: "" }; opener = now; });

let stop = new AbortController(), wait = 0;
/** Ask for the rows after those that are here. A relay that holds sealed names is asked for one as it holds it. */
async function fetchMore(q, cursor, before) {
  stop.abort();
  stop = new AbortController();
  busy.value = true;
  try {
    const seals = S.seals.peek(), page = await ask(asked(seals ? { ...q, project: seals.project(q.project) } : q, cursor, cursor ? STEP : Math.min(500, Math.max(STEP, limit.peek()))), stop.signal);
    if (q === query.peek()) remote.value = { q, rows: [...before, ...page.sessions.map((s) => session(s))], next: page.next ?? null, total: page.total ?? 0 };
    busy.value = false;
  } catch (e) { if (/** @type {any} */ (e).name !== "AbortError") busy.value = false; }
}
// What is here answers at once; the server's complete answer follows when the fingers rest.
effect(() => {
  const q = query.value;
  S.conn.value; // whoever answers now knows what nobody answered before
  clearTimeout(wait);
  if (!complete.peek() && !secret(q) && (filtered(q) || q.by !== "last" || q.up)) wait = window.setTimeout(() => fetchMore(q, null, []), 180);
});
export function more() {
  const q = query.value, r = remote.value;
  if (complete.value || secret(q) || found.value.length >= limit.value) return;
  if (r?.q === q) { if (r.next) fetchMore(q, r.next, r.rows); } else fetchMore(q, null, []);
}
