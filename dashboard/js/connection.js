// Where the data comes from. Pure: clock, sockets, requests and storage are handed in, so that tests need not wait.
// Its states and what each means: types.d.ts.

export const TIMERS = {
  hedge: 250, // ask the relay too when the agent has not answered by then
  giveUp: 1000, // show the best that is at hand no later than this after the start
  patient: 6000, // but an empty page waits this long for a request that is under way
  silence: 900, // the agent beats every 500 ms: this much silence on a visible page means it is gone
  relaySilence: 45000, // the relay beats every 20 s
  probe: 1000, probeSlow: 15000, patience: 300000, // look for the agent each second, after five minutes less often
  poll: 5000, pollHidden: 30000, // ask the relay when it has no live channel
  request: 8000,
};

/** @param {World} o what the world offers */
export function connect(o) {
  const T = o.timers ?? TIMERS, clock = o.clock ?? (() => Date.now()), visible = o.visible ?? (() => true);
  const later = o.later ?? ((fn, wait) => setTimeout(fn, wait)), cancel = o.cancel ?? ((id) => clearTimeout(id));
  let state = /** @type {State|""} */ (""), why = "", stopped = false, have = false, stored = false, role = o.hint, known = false;
  let agent = /** @type {Home|null} */ (null), relay = /** @type {Home|null} */ (null);
  let began = clock(), lost = began, asking = /** @type {Home|null} */ (null), looking = true;
  const timer = {};
  const set = (name, fn, wait) => { cancel(timer[name]); timer[name] = later(fn, wait); };
  /** One live channel: to the agent, or to the relay. @param {Role} to */
  const channel = (to) => ({ to, home: /** @type {Home|null} */ (null), ws: /** @type {any} */ (null), live: false, armed: 0, dialling: false, failed: -Infinity });
  const A = channel("agent"), R = channel("relay");

  /** @param {State} next @param {string} [reason] */
  function go(next, reason = "") {
    if (stopped || (next === state && reason === why)) return;
    state = next; why = reason;
    o.status({ state, why, base: A.live ? agent?.base ?? "" : next.startsWith("relay") ? relay?.base ?? "" : "" });
  }

  // ---- who is there
  /** @param {string} is */
  async function assume(is) {
    role = is;
    const next = o.relayFor(role);
    if (next?.base !== relay?.base || next?.key !== relay?.key) relay = next; // a request under way stays the same one
    agent = await o.agentFor(role);
  }
  async function look() {
    const who = await o.ping(o.self, 900);
    looking = false;
    if (stopped) return;
    if (!who) return late();
    const changed = who.home !== role, first = !known;
    known = true;
    if (changed) { o.role(who.home); drop(A); drop(R); }
    if (changed || !agent) await assume(who.home);
    if (stopped) return;
    dial(A, agent);
    if (!agent && (changed || (first && !have))) ask();
  }

  // ---- a live channel
  async function dial(c, home) {
    if (stopped || !home || c.ws || c.dialling || (c === R && A.live)) return;
    c.dialling = true;
    const sock = await o.socket(home, c.to);
    c.dialling = false;
    if (stopped || c.ws || (c === R && (A.live || home !== relay))) return sock?.close();
    if (!sock) { c.failed = clock(); return; }
    c.ws = sock; c.home = home;
    const dead = later(() => { if (c.ws === sock && !c.live) drop(c); }, c === A ? T.giveUp : T.request);
    sock.onopen = () => sock.send(o.subscribe(o.cursor(home.base)));
    sock.onmessage = (e) => { if (c.ws === sock) { arm(c, sock); take(c, sock, e.data, dead); } };
    sock.onclose = sock.onerror = () => { cancel(dead); if (c.ws === sock) drop(c); };
    if (sock.readyState === 1) sock.onopen();
  }
  function take(c, sock, text, dead) {
    let m;
    try { m = JSON.parse(text); } catch { return; }
    const base = c.home.base;
    if (m.type === "feed") {
      if (!o.apply(m, base, true)) return sock.send(o.subscribe(""));
      cancel(dead);
      lives(c);
    } else if (m.type === "changed") pull(c, sock);
    else if (m.type === "ping") sock.send('{"type":"pong"}');
    else if (c.live && (m.type === "hb" || m.type === "heartbeat_ack")) { o.alive(m.server_time ?? m.timestamp); if (c === R) relayIs(); }
  }
  /** The change is too large for the channel: fetch it. */
  async function pull(c, sock) {
    const home = c.home, a = await o.feed(home, o.cursor(home.base), T.request);
    if (c.ws !== sock || stopped) return;
    if (a.kind !== "feed" || !o.apply(a.feed, home.base, true)) return sock.send(o.subscribe(""));
    lives(c);
  }
  function lives(c) {
    c.live = have = true;
    if (c === R) return relayIs();
    drop(R); cancel(timer.poll); cancel(timer.probe); cancel(timer.hurry);
    go("live");
  }
  function arm(c, sock) {
    cancel(timer[c.to]);
    if (!visible()) return; // a hidden page's timers are slowed: silence proves nothing there
    c.armed = clock();
    const wait = c === A ? T.silence : T.relaySilence;
    set(c.to, () => {
      if (c.ws !== sock) return;
      // It fired late: this page was busy or asleep, not the other side. Give it one more turn.
      if (clock() - c.armed > wait * 1.6) return arm(c, sock);
      if (c === A) return drop(c);
      // A relay without a process of its own cannot beat: ask before giving it up.
      set(c.to, () => { if (c.ws === sock) drop(c); }, T.request);
      sock.send('{"type":"heartbeat"}');
    }, wait);
  }
  /** @param {ReturnType<typeof channel>} c */
  function drop(c) {
    const sock = c.ws, was = c.live;
    if (sock && !was) c.failed = clock();
    c.ws = null; c.live = false; cancel(timer[c.to]);
    if (sock) { sock.onclose = sock.onerror = sock.onmessage = null; try { sock.close(); } catch { /* it is closed */ } }
    if (stopped) return;
    if (c === A && was) {
      lost = clock();
      if (relay) { set("hurry", () => { if (!A.live && state === "live") fallback(); }, T.giveUp - 100); ask(); } else fallback();
    }
    if (c === A) { late(); schedule(); }
    if (c === R && was && !A.live) set("poll", ask, T.probe);
  }

  // ---- looking for the agent
  function schedule() {
    cancel(timer.probe);
    if (stopped || A.live || (known && !agent)) return;
    const slow = !visible() || clock() - lost > T.patience;
    set("probe", probe, slow ? T.probeSlow : T.probe);
  }
  // Browsers delay WebSockets to a host that keeps refusing them; a plain request is not delayed.
  async function probe() {
    if (stopped || A.live) return;
    if (!known || role === "agent") await look();
    else if (agent && (await o.ping(agent.base, 800))?.home === "agent") dial(A, agent);
    schedule();
  }

  // ---- the relay
  async function ask() {
    cancel(timer.poll);
    if (stopped || A.live || R.live || (relay && asking === relay)) return;
    if (!relay) return settle("");
    const home = asking = relay, still = () => !stopped && !A.live && home === relay; // its key may be forgotten meanwhile
    let a = await o.feed(home, o.cursor(home.base), T.request);
    if (a.kind === "feed" && a.feed.home === "agent" && home.base === o.self) { look(); a = { kind: "down" }; } // it has taken the relay's place
    if (a.kind === "feed" && still() && !o.apply(a.feed, home.base, true)) {
      a = await o.feed(home, "", T.request);
      if (a.kind === "feed" && still()) o.apply({ ...a.feed, full: true }, home.base, true);
    }
    if (asking === home) asking = null;
    if (!still()) return home === relay ? undefined : ask();
    have ||= a.kind === "feed";
    if (a.kind === "same") o.alive(a.at);
    if (a.kind === "feed" || a.kind === "same") { relayIs(); if (clock() - R.failed > T.patience) dial(R, relay); }
    else settle(a.kind === "refused" ? (home.key ? "refused" : "locked") : "");
    set("poll", ask, Math.max(visible() ? T.poll : T.pollHidden, a.kind === "refused" ? T.pollHidden : 0, a.kind === "down" ? a.wait ?? 0 : 0));
  }
  function relayIs() { cancel(timer.hurry); go(o.reporting() ? "relay-live" : "relay-cached"); }
  /** The relay did not help either. @param {string} reason */
  function settle(reason) { if (!A.live && !A.ws && (state !== "connecting" || reason || clock() - lost >= T.hedge)) fallback(reason); }
  function fallback(reason = "") { if (!A.live && !R.live) go(have || stored ? "stored" : "none", reason); }

  /** A second has passed: show the best that is at hand, unless an answer to an empty page is under way. */
  function late() { if (state === "connecting" && clock() - began >= T.giveUp && (stored || !(asking || looking || A.dialling || A.ws))) fallback(); }

  // ---- start
  /** Nothing is shown yet but what this browser kept. */
  function begin() {
    began = clock(); have = stored = false; asking = null;
    go("connecting");
    o.load().then((found) => { stored = found; if (found && state === "none") go("stored", why); });
    later(late, T.giveUp);
    later(() => { if (state === "connecting") fallback(); }, T.patient);
  }
  (async () => {
    begin();
    o.early?.().then((feed) => { if (feed && !have && !stopped) have = o.apply(feed, o.self, true); });
    const assumed = role ? assume(role) : null;
    if (role === "relay" && relay?.key) ask(); // not waiting for what the browser says about permissions
    await assumed;
    if (stopped) return;
    if (role === "agent") dial(A, agent); else if (relay?.key && !have) ask();
    look().then(schedule);
    later(() => { if (!A.live) ask(); }, T.hedge);
  })();

  return {
    /** The page is shown again, the network is back, or the person asks. */
    wake() {
      if (stopped) return;
      lost = clock();
      for (const c of [A, R]) if (c.ws) { arm(c, c.ws); if (c.live) c.ws.send('{"type":"ping"}'); }
      if (!A.live) { probe(); ask(); }
    },
    /** Pairings or permission changed: think again about who there is. @param {boolean} [gone] with what was shown */
    async again(gone) { drop(R); R.failed = -Infinity; if (gone) begin(); await assume(role); lost = clock() - T.hedge; if (!A.live) { if (agent) dial(A, agent); ask(); schedule(); } },
    /** The network is gone: a relay is asked again, not waited for. */
    offline() { drop(R); },
    stop() { stopped = true; for (const k in timer) cancel(timer[k]); drop(A); drop(R); },
    /** The home that answers questions now. @returns {Home|null} */
    get home() { return A.live ? agent : state.startsWith("relay") ? relay : null; },
    get relay() { return relay; }, get agent() { return agent; },
    get state() { return state; },
  };
}
