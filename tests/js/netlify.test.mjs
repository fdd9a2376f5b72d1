// The Netlify side: what the function and the proxy hand on, against a server that says what reached it,
// and, where RELAY_UNDER_TEST names one, against a running relay.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { files } from "../../netlify/build.mjs";

const { handler } = createRequire(import.meta.url)("../../netlify/functions/session-sync.js");
const PATH = "/.netlify/functions/session-sync";
let server, seen, answer;

before(async () => {
  server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      seen = { method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(parts) };
      response.writeHead(answer.status, answer.headers);
      response.end(answer.body);
    });
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
});
after(() => server.close());

async function ask(event, relay = `http://127.0.0.1:${server.address().port}`) {
  process.env.RELAY_URL = relay;
  const said = await handler({ httpMethod: "GET", path: PATH, rawQuery: "", headers: {}, body: null, isBase64Encoded: false, ...event });
  return { ...said, text: said.isBase64Encoded ? Buffer.from(said.body, "base64").toString() : said.body };
}

test("method, path, query, headers and body reach the relay as they came", async () => {
  answer = { status: 200, headers: { "content-type": "application/json" }, body: '{"status":"received"}' };
  const said = await ask({ httpMethod: "POST", path: PATH + "/sessions/recent", rawQuery: "limit=5&q=a%20b", headers: { "X-API-Key": "k", "content-type": "application/json", host: "page.example" }, body: '{"source":"ä"}' });
  assert.equal(seen.method, "POST");
  assert.equal(seen.url, PATH + "/sessions/recent?limit=5&q=a%20b");
  assert.equal(seen.headers["x-api-key"], "k");
  assert.match(seen.headers.host, /^127\.0\.0\.1/);
  assert.equal(seen.body.toString(), '{"source":"ä"}');
  assert.deepEqual([said.statusCode, said.text, said.headers["content-type"]], [200, '{"status":"received"}', "application/json"]);
});

test("a body that is not text arrives byte for byte", async () => {
  answer = { status: 200, headers: {}, body: "" };
  const bytes = gzipSync("x".repeat(999));
  await ask({ httpMethod: "POST", headers: { "content-encoding": "gzip" }, body: bytes.toString("base64"), isBase64Encoded: true });
  assert.deepEqual([seen.body, seen.headers["content-encoding"]], [bytes, "gzip"]);
});

test("a compressed answer is handed on readable", async () => {
  answer = { status: 200, headers: { "content-encoding": "gzip", "content-type": "application/json" }, body: gzipSync('{"a":1}') };
  const said = await ask({});
  assert.deepEqual([said.text, said.headers["content-encoding"]], ['{"a":1}', undefined]);
});

for (const status of [204, 304, 400, 401, 404, 405, 429, 500, 503]) {
  test(`the relay's ${status} stays a ${status}`, async () => {
    answer = { status, headers: { "retry-after": "7", etag: '"x"' }, body: "" };
    const said = await ask({});
    assert.deepEqual([said.statusCode, said.headers["retry-after"], said.headers.etag], [status, "7", '"x"']);
  });
}

test("a redirect is handed on, never followed with the caller's key", async () => {
  answer = { status: 302, headers: { location: "https://elsewhere.example/" }, body: "" };
  assert.equal((await ask({ headers: { "x-api-key": "k" } })).statusCode, 302);
});

test("a relay that is away is a 502 with what to do", async () => {
  const said = await ask({}, "http://127.0.0.1:9");
  assert.equal(said.statusCode, 502);
  assert.match(said.text, /try again/);
});

test("without RELAY_URL the function says so and asks nobody", async () => {
  for (const relay of ["", "relay.example", "ftp://x"]) assert.match((await ask({}, relay)).text, /RELAY_URL/);
});

test("the site proxies the API and lets the page reach the relay's live channel, and nothing else", () => {
  const made = files("https://relay.example", "wss://abc.execute-api.eu-central-1.amazonaws.com/prod");
  assert.equal(made._redirects, "/api/*  https://relay.example/api/:splat  200!\n");
  assert.match(made._headers, /connect-src 'self' wss:\/\/abc\.execute-api\.eu-central-1\.amazonaws\.com /);
  assert.doesNotMatch(made._headers, / \*[ ;]|https:[ ;]|unsafe/);
});

test("a site without a relay's address is not built", () => {
  for (const relay of ["", "http://relay.example", "https://relay.example/x y", "https://a@b"]) assert.throws(() => files(relay), /RELAY_URL/);
});

test("a running relay answers through the function as it does itself", { skip: !process.env.RELAY_UNDER_TEST && "no relay in RELAY_UNDER_TEST" }, async () => {
  const relay = process.env.RELAY_UNDER_TEST, headers = { authorization: `Bearer ${process.env.RELAY_KEY_UNDER_TEST}` };
  for (const path of ["/status", "/sessions/active", "/sessions/recent", "/analytics/current", "/five-hour-blocks", "/dashboard-config", "/nothing-here"]) {
    const direct = await fetch(relay + PATH + path, { headers }), through = await ask({ path: PATH + path, headers }, relay);
    assert.equal(through.statusCode, direct.status, path);
    assert.deepEqual(Object.keys(JSON.parse(through.text)).sort(), Object.keys(await direct.json()).sort(), path);
  }
  assert.equal((await ask({ path: PATH + "/sessions/recent" }, relay)).statusCode, 401);
});
