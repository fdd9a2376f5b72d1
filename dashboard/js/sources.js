// The browser's side of the connection: requests, sockets, permission. What connection.js decides, this does.
import { zone } from "./format.js";

export const self = new URL("./", document.baseURI).href;
const LOCAL = "http://localhost:3001/";
export const onThisComputer = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(location.hostname);
const at = (base, path) => new URL(path, base).href;
/** A key goes into a header, and only to the relay it belongs to. */
const headers = (home, more) => ({ ...(home.key ? { Authorization: "Bearer " + home.key } : {}), ...more });

/** What theme.js asked before the modules were here; each answer is taken once. */
const early = /** @type {any} */ (window).early ?? {};
const first = (name) => { const answer = early[name]; early[name] = null; return answer; };

/** What the agent on this origin said to that, if it is one. */
export async function earlyFeed() {
  try { const r = onThisComputer && early.open ? await first("feed") : null, feed = r?.ok ? await r.json() : null; return feed?.home === "agent" ? feed : null; } catch { return null; }
}
/** @returns {Promise<{home: string}|null>} null: nothing answered */
export async function ping(base, wait) {
  try {
    const r = (base === self && (await first("ping"))) || await fetch(at(base, "api/v1/ping"), { signal: AbortSignal.timeout(wait), cache: "no-store", credentials: "omit" });
    if (!r.ok) return r.status === 404 || r.status === 403 || r.status === 405 ? { home: "static" } : null;
    return (r.headers.get("content-type") ?? "").includes("json") ? await r.json() : { home: "static" };
  } catch { return null; }
}

const etags = /** @type {Map<string, string>} */ (new Map());
export async function feed(home, cursor, wait) {
  const url = at(home.base, "api/v1/feed?" + new URLSearchParams({ ...(cursor ? { cursor } : {}), tz: zone(), sessions: "120" }));
  const tag = cursor ? etags.get(url) : undefined;
  try {
    const r = (!cursor && home.base === self && home.key && (await first("feed"))) || await fetch(url, { headers: headers(home, tag ? { "If-None-Match": tag } : {}), signal: AbortSignal.timeout(wait), cache: "no-store", credentials: "omit" });
    if (r.status === 304) return /** @type {const} */ ({ kind: "same", at: Date.parse(r.headers.get("date") ?? "") || null });
    if (r.status === 401 || r.status === 403) return /** @type {const} */ ({ kind: "refused" });
    if (!r.ok) return /** @type {const} */ ({ kind: "down", wait: Number(r.headers.get("retry-after") ?? 0) * 1000 });
    const body = await r.json(), next = r.headers.get("etag");
    if (next) { etags.clear(); if (body.cursor === cursor) etags.set(url, next); }
    return /** @type {const} */ ({ kind: "feed", feed: body });
  } catch { return /** @type {const} */ ({ kind: "down" }); }
}

/** A live channel. The relay wants a ticket first, which works once and for 30 seconds; the agent wants none. */
export async function socket(home, role) {
  try {
    let url = at(home.base.replace(/^http/, "ws"), "ws");
    if (role === "relay") {
      const r = await fetch(at(home.base, "api/v1/live-tickets"), { method: "POST", headers: headers(home), signal: AbortSignal.timeout(5000), cache: "no-store", credentials: "omit" });
      if (!r.ok) return null;
      const t = await r.json();
      url = (t.url ?? url) + "?ticket=" + encodeURIComponent(t.ticket);
    }
    return new WebSocket(url);
  } catch { return null; }
}
export const subscribe = (cursor) => JSON.stringify({ type: "subscribe", cursor: cursor || null, tz: zone(), sessions: 120 });

/** Ask a home; throws what it answered when that was not yes. @param {any} [how] as for fetch */
export async function ask(home, path, how = {}) {
  if (!home) throw new Error("offline");
  const r = await fetch(at(home.base, "api/" + path), { ...how, headers: headers(home, how.headers), credentials: "omit" });
  if (!r.ok) throw Object.assign(new Error(String(r.status)), { answer: r });
  return r;
}
/** @param {AbortSignal} [signal] */
export const question = async (home, path, signal) => (await ask(home, path, { signal })).json();

/** May this page, which another host served, talk to an agent on this computer? "none" when it is no question here.
 * @returns {Promise<"granted"|"prompt"|"denied"|"none">} */
export async function localPermission() {
  if (onThisComputer || !isSecureContext || /Mobi|Android/.test(navigator.userAgent)) return "none";
  for (const name of ["loopback-network", "local-network-access"]) {
    try { return (await navigator.permissions.query({ name: /** @type {any} */ (name) })).state; } catch { /* another browser, another name */ }
  }
  return "none";
}
/** Touch the local agent once, because the person asked to: the browser then asks for permission. */
export const askLocal = () => ping(LOCAL, 30000);
/** @param {string} role of this page's own origin @returns {Promise<{base: string}|null>} */
export async function agentFor(role) {
  if (role === "agent") return { base: self };
  return (await localPermission()) === "granted" ? { base: LOCAL } : null;
}
