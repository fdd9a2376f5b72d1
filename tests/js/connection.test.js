import { test } from "node:test";
import assert from "node:assert/strict";
import { world, RELAY, SELF } from "./world.js";

const KEY = "sr_read_abc";

test("an agent that answers is live", async () => {
  const w = world();
  await w.clock.pass(50);
  assert.equal(w.state, "live");
  assert.deepEqual(w.states.map((s) => s.state), ["connecting", "live"]);
});
test("a first visit asks who is there before it dials", async () => {
  const w = world({ hint: "" });
  await w.clock.pass(50);
  assert.equal(w.state, "live");
  assert.deepEqual(w.roles, ["agent"]);
});
test("a page that is remembered as an agent's, but is a relay's now, finds out", async () => {
  const w = world({ hint: "agent", role: "relay", relay: KEY });
  await w.clock.pass(300);
  assert.equal(w.state, "relay-live");
  assert.deepEqual(w.roles, ["relay"]);
});
test("without an agent and without earlier state the page says so within a second", async () => {
  const w = world({ agentUp: false });
  await w.clock.pass(1000);
  assert.equal(w.state, "none");
});
test("without an agent the last known state is shown within a second", async () => {
  const w = world({ agentUp: false, stored: true });
  await w.clock.pass(1000);
  assert.equal(w.state, "stored");
});
test("a killed agent falls back to the relay at once", async () => {
  const w = world({ relay: KEY });
  await w.beat(1000);
  w.kill();
  await w.clock.pass(50);
  assert.equal(w.state, "relay-live");
  assert.equal(w.states.at(-1).base, RELAY);
});
test("a relay that no machine reports to is cached, not live", async () => {
  const w = world({ relay: KEY, reporting: false });
  await w.beat(1000);
  w.kill();
  await w.clock.pass(50);
  assert.equal(w.state, "relay-cached");
});
test("a killed agent without a relay leaves the stored state", async () => {
  const w = world();
  await w.beat(1000);
  w.kill();
  await w.clock.pass(10);
  assert.equal(w.state, "stored");
});
test("a stopped agent is noticed by its silence within a second", async () => {
  const w = world();
  await w.beat(1000);
  w.frozen = true;
  await w.clock.pass(950);
  assert.equal(w.state, "stored");
});
test("an agent that returns is live within two seconds", async () => {
  const w = world();
  await w.beat(1000);
  w.kill();
  await w.clock.pass(20_000);
  w.agentUp = true;
  await w.beat(1500);
  assert.equal(w.state, "live");
});
test("nobody dials a port that does not answer the ping", async () => {
  const w = world({ agentUp: false, stored: true });
  await w.clock.pass(30_000);
  assert.ok(w.sockets.length <= 1, `${w.sockets.length} sockets`);
  assert.ok(w.pings > 20);
});
test("after five minutes the page looks less often", async () => {
  const w = world({ agentUp: false, stored: true });
  await w.clock.pass(301_000);
  const before = w.pings;
  await w.clock.pass(60_000);
  assert.ok(w.pings - before <= 5, `${w.pings - before} pings in a minute`);
});
test("waking asks at once", async () => {
  const w = world({ agentUp: false, stored: true });
  await w.clock.pass(400_000);
  w.agentUp = true;
  w.link.wake();
  await w.clock.pass(50);
  assert.equal(w.state, "live");
});
test("a hidden page takes silence for nothing", async () => {
  const w = world();
  await w.beat(1000);
  w.visible = false;
  w.say(w.open()[0], { type: "hb" });
  await w.clock.pass(60_000);
  assert.equal(w.state, "live");
});
test("a late timer means that the page slept, not that the agent died", async () => {
  const w = world();
  await w.beat(1000);
  w.clock.now += 30_000; // the computer slept
  await w.clock.pass(0);
  assert.equal(w.state, "live");
});
test("a feed that does not continue the page's state is asked for again in full", async () => {
  const w = world();
  await w.clock.pass(50);
  w.applyFails = 1;
  w.say(w.open()[0], { type: "feed", since: "elsewhere" });
  await w.clock.pass(10);
  assert.equal(JSON.parse(w.subscribed.at(-1)).cursor, "");
  assert.equal(w.state, "live");
});
test("a change too large for the channel is fetched", async () => {
  const w = world();
  await w.clock.pass(50);
  const n = w.applied.length;
  w.say(w.open()[0], { type: "changed", head: "v2" });
  await w.clock.pass(10);
  assert.deepEqual(w.asked.at(-1), [SELF, "v1"]);
  assert.equal(w.applied.length, n + 1);
});
test("messages that are not for the page, or not JSON, change nothing", async () => {
  const w = world();
  await w.clock.pass(50);
  const s = w.open()[0];
  s.onmessage({ data: "{" });
  w.say(s, { type: "initial_data" });
  w.say(s, { type: "something new" });
  w.say(s, { type: "ping" });
  assert.equal(w.state, "live");
  assert.equal(s.sent.at(-1), '{"type":"pong"}');
});
test("a relay without a live channel is polled", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false });
  await w.clock.pass(21_000);
  assert.equal(w.state, "relay-live");
  assert.ok(w.asked.length >= 4 && w.asked.length <= 7, `${w.asked.length} requests`);
});
test("a channel that cannot be opened is tried seldom, and the relay is polled meanwhile", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveOpens: false });
  await w.clock.pass(120_000);
  assert.equal(w.state, "relay-live");
  assert.ok(w.sockets.length <= 2, `${w.sockets.length} sockets`);
  assert.ok(w.asked.length > 15);
});
test("a relay with a live channel is not polled beside it", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY });
  await w.clock.pass(100);
  const n = w.asked.length;
  for (let i = 0; i < 3; i++) { await w.clock.pass(20_000); w.say(w.open()[0], { type: "hb" }); }
  assert.equal(w.asked.length, n);
  assert.equal(w.state, "relay-live");
});
test("a relay that is gone shows the stored state, and its return is noticed", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false });
  await w.clock.pass(1000);
  w.relayUp = false;
  await w.clock.pass(6000);
  assert.equal(w.state, "stored");
  w.relayUp = true;
  await w.clock.pass(6000);
  assert.equal(w.state, "relay-live");
});
test("a browser that says it is offline is not kept waiting for the relay's silence", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY });
  await w.clock.pass(100);
  w.relayUp = false;
  w.link.offline();
  await w.clock.pass(1500);
  assert.equal(w.state, "stored");
  w.relayUp = true;
  w.link.wake();
  await w.clock.pass(100);
  assert.equal(w.state, "relay-live");
});
test("a key that is refused says so and is not hammered", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, accepts: false });
  await w.clock.pass(1000);
  assert.equal(w.why, "refused");
  const n = w.asked.length;
  await w.clock.pass(60_000);
  assert.ok(w.asked.length - n <= 3);
});
test("a relay that wants a key this browser lacks is locked", async () => {
  const w = world({ hint: "", role: "relay" });
  await w.clock.pass(1500);
  assert.equal(w.state, "none");
  assert.equal(w.why, "locked");
});
test("with the agent live the relay is left alone", async () => {
  const w = world({ relay: KEY });
  await w.beat(10_000);
  assert.equal(w.asked.filter(([b]) => b === RELAY).length, 0);
  assert.ok(w.open().every((s) => s.to === "agent"));
});
test("a hosted page reaches the agent only when it is allowed to", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY });
  await w.clock.pass(3000);
  assert.ok(w.sockets.every((s) => s.to === "relay"));
});
test("a slow network is waited for, and not taken for nobody", async () => {
  const w = world();
  w.frozen = true; // the socket opens late
  await w.clock.pass(900);
  assert.equal(w.state, "connecting");
});
test("an early feed is shown before the channel is open", async () => {
  const w = world({ early: { full: true, cursor: "v1" }, agentUp: true });
  w.frozen = true;
  await w.clock.pass(20);
  assert.equal(w.applied.length, 1);
  assert.equal(w.state, "connecting");
});
test("a page that is left asks nothing more", async () => {
  const w = world({ agentUp: false, stored: true });
  await w.clock.pass(2000);
  w.link.stop();
  const n = w.pings;
  await w.clock.pass(60_000);
  assert.equal(w.pings, n);
});
test("a relay that cannot beat is asked before it is given up, and kept when it answers", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY });
  await w.clock.pass(100);
  const [s] = w.open(), subscribes = w.answer;
  w.answer = (to, text) => { subscribes(to, text); if (JSON.parse(text).type === "heartbeat") w.say(to, { type: "heartbeat_ack", timestamp: "2026-11-22T10:00:00.000Z" }); };
  await w.clock.pass(200_000);
  assert.ok(!s.closed && w.beats >= 3);
  w.answer = () => {};
  await w.clock.pass(60_000);
  assert.ok(s.closed);
});
test("what a relay answers to a key that was forgotten meanwhile is not shown", async () => {
  let answer = () => {};
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false, slow: new Promise((done) => { answer = done; }) });
  await w.clock.pass(500);
  w.key = null;
  w.link.again(true);
  await w.clock.pass(100);
  assert.equal(w.state, "none");
  answer();
  await w.clock.pass(10_000);
  assert.deepEqual(w.applied, []);
});
test("another key is asked at once, however long the answer to the one before takes", async () => {
  let answer = () => {};
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false, slow: new Promise((done) => { answer = done; }) });
  await w.clock.pass(500);
  w.key = "another";
  w.link.again(true);
  await w.clock.pass(100);
  assert.equal(w.state, "relay-live");
  answer();
  await w.clock.pass(100);
  assert.deepEqual([...new Set(w.applied.map((feed) => feed.with))], ["another"]);
});
test("a channel that opens for a key that is no longer in use is closed", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY });
  await w.clock.pass(100);
  const [old] = w.open();
  w.key = "another";
  w.link.again(true);
  await w.clock.pass(100);
  assert.ok(old.closed);
  assert.equal(w.open().length, 1);
  assert.equal(w.state, "relay-live");
});
test("with another key that nobody answers to, what this browser keeps of it is shown", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false });
  await w.clock.pass(100);
  w.key = "another"; w.relayUp = false; w.stored = true;
  w.link.again(true);
  await w.clock.pass(1000);
  assert.equal(w.state, "stored");
});
test("an agent that takes a relay's place on this page's origin is noticed", async () => {
  const w = world({ hint: "relay", role: "relay", relay: KEY, liveRelay: false });
  await w.clock.pass(100);
  assert.equal(w.state, "relay-live");
  w.relayUp = false;
  await w.clock.pass(20_000);
  assert.equal(w.state, "stored");
  w.becomes("agent");
  await w.clock.pass(6000);
  assert.equal(w.state, "live");
  assert.deepEqual(w.roles, ["agent"]);
});
