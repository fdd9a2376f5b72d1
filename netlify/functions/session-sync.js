// Keeps the earlier system's address working on Netlify: whatever comes to /.netlify/functions/session-sync/…
// goes to the relay named by RELAY_URL, unchanged, and so does the answer on its way back.
const HOP = new Set(["host", "connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "expect", "content-length", "accept-encoding", "content-encoding"]);
const kept = (headers, ...also) => Object.fromEntries([...headers].filter(([name]) => also.includes(name.toLowerCase()) || !HOP.has(name.toLowerCase())));
const problem = (statusCode, error) => ({ statusCode, headers: { "content-type": "application/json", "cache-control": "no-store" }, body: JSON.stringify({ error }) });

exports.handler = async (event) => {
  const relay = (process.env.RELAY_URL || "").replace(/\/+$/, "");
  if (!/^https?:\/\/[^/?#@]+/.test(relay)) return problem(500, "RELAY_URL is not set: give this site the relay's address, then deploy again");
  const url = relay + event.path + (event.rawQuery ? "?" + event.rawQuery : "");
  const body = event.body ? Buffer.from(event.body, event.isBase64Encoded ? "base64" : "utf8") : undefined;
  try {
    const answer = await fetch(url, { method: event.httpMethod, headers: kept(Object.entries(event.headers || {}), "content-encoding"), body, redirect: "manual", signal: AbortSignal.timeout(9000) });
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { statusCode: answer.status, headers: kept(answer.headers), body: bytes.toString("base64"), isBase64Encoded: true };
  } catch {
    return problem(502, "the relay did not answer: try again in a moment");
  }
};
