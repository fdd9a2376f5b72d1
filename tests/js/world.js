// A world for the connection: a clock that moves when told, an agent and a relay that live and die.
import { connect } from "../../dashboard/js/connection.js";

export const SELF = "http://localhost:3001/", RELAY = "https://relay.example/";

export class Clock {
  now = 1_000_000; todo = []; n = 0;
  later = (fn, wait) => { const id = ++this.n; this.todo.push({ id, at: this.now + wait, fn }); return id; };
  cancel = (id) => { this.todo = this.todo.filter((t) => t.id !== id); };
  /** Let *length* ms pass, running what falls due, with the promises between. */
  async pass(length) {
    const end = this.now + length;
    await settle();
    for (;;) {
      const next = this.todo.filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (!next) break;
      this.todo = this.todo.filter((t) => t !== next);
      this.now = Math.max(this.now, next.at);
      next.fn();
      await settle();
    }
    this.now = end;
  }
}
export const settle = async () => { for (let i = 0; i < 30; i++) await null; };

/** The page's connection in such a world. */
export function world({ hint = "agent", role = "agent", agentUp = true, relay = null, stored = false, relayUp = true, reporting = true, accepts = true, liveRelay = true, liveOpens = true, early = null, slow = null } = {}) { // relay: the key that this browser has
  const clock = new Clock();
  const w = { clock, key: relay, slow, agentUp, relayUp, reporting, accepts, stored, visible: true, frozen: false, sockets: [], states: [], applied: [], asked: [], subscribed: [], roles: [], pings: 0, base: "", version: 1, liveRelay, applyFails: 0, agentAllowed: false };
  const base = (home) => home.base;
  w.link = connect({
    self: SELF, hint, clock: () => clock.now, later: clock.later, cancel: clock.cancel, visible: () => w.visible,
    agentFor: async (is) => (is === "agent" ? { base: SELF } : w.agentAllowed ? { base: "http://localhost:3001/" } : null),
    relayFor: (is) => (w.key ? { base: is === "relay" ? SELF : RELAY, key: w.key } : is === "relay" ? { base: SELF } : null),
    ping: async () => { w.pings++; if (role === "agent" ? !w.agentUp || w.frozen : !w.relayUp) return null; return { home: role }; },
    feed: async (home, cursor) => {
      w.asked.push([base(home), cursor]);
      if (home.base === SELF && role === "agent") return w.agentUp ? { kind: "feed", feed: { full: !cursor, cursor: `v${w.version}`, home: "agent" } } : { kind: "down" };
      if (w.slow && home.key === relay) await w.slow;
      if (!w.relayUp) return { kind: "down" };
      return w.accepts && home.key ? { kind: "feed", feed: { full: !cursor, cursor: `v${w.version}`, with: home.key } } : { kind: "refused" };
    },
    socket: async (home, to) => {
      if (to === "relay" && (!w.relayUp || !w.liveRelay)) return null;
      const s = { to, readyState: 0, sent: [], closed: false, send(t) { this.sent.push(t); w.subscribed.push(t); w.answer(this, t); }, close() { this.closed = true; } };
      w.sockets.push(s);
      if (to === "relay" && !liveOpens) clock.later(() => s.onclose?.(), 50);
      else if (to === "relay" || (w.agentUp && !w.frozen)) Promise.resolve().then(() => { s.readyState = 1; s.onopen?.(); });
      else if (!w.frozen) Promise.resolve().then(() => s.onclose?.());
      return s;
    },
    subscribe: (cursor) => JSON.stringify({ type: "subscribe", cursor }),
    cursor: (from) => (from === w.base ? `v${w.version}` : ""),
    apply: (feed, from) => { if (w.applyFails > 0) { w.applyFails--; return false; } w.base = from; w.applied.push(feed); return true; },
    alive: () => { w.beats = (w.beats ?? 0) + 1; }, reporting: () => w.reporting, load: async () => w.stored, early: async () => early,
    role: (is) => w.roles.push(is), status: (s) => w.states.push(s),
  });
  w.answer = (s, text) => { if (JSON.parse(text).type === "subscribe") Promise.resolve().then(() => w.say(s, { type: "feed", full: true })); };
  w.say = (s, m) => s.onmessage?.({ data: JSON.stringify(m) });
  w.becomes = (next) => { role = next; };
  w.open = () => w.sockets.filter((s) => !s.closed);
  w.beat = async (length) => { for (let t = 0; t < length; t += 500) { await clock.pass(500); const s = w.open().find((x) => x.to === "agent"); if (w.agentUp && !w.frozen && s) w.say(s, { type: "hb", server_time: clock.now }); } };
  w.kill = () => { w.agentUp = false; for (const s of w.open()) if (s.to === "agent") s.onclose?.(); };
  Object.defineProperty(w, "state", { get: () => w.states.at(-1)?.state });
  Object.defineProperty(w, "why", { get: () => w.states.at(-1)?.why });
  return w;
}
