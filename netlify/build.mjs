// What Netlify serves: the page as it is, and two small files that tell Netlify where the relay is.
// RELAY_URL: the relay's address; RELAY_LIVE_URL: its live channel's, where that is another (wss://… on AWS).
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function files(relay, live = "") {
  if (!/^https:\/\/[^/?#@\s]+$/.test(relay)) throw new Error("RELAY_URL must be the relay's address, such as https://relay.example.org");
  if (live && !/^wss:\/\/[^?#@\s]+$/.test(live)) throw new Error("RELAY_LIVE_URL must be the live channel's address, such as wss://relay.example.org/ws");
  const reach = ["'self'", live ? new URL(live).origin.replace(/^null$/, `wss://${new URL(live).host}`) : relay.replace(/^http/, "ws"), "http://localhost:*", "ws://localhost:*", "http://127.0.0.1:*", "ws://127.0.0.1:*"];
  return {
    _redirects: `/api/*  ${relay}/api/:splat  200!\n`,
    _headers: ["/*", `  Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; manifest-src 'self'; worker-src 'self'; connect-src ${reach.join(" ")}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types app`, "  X-Content-Type-Options: nosniff", "  Referrer-Policy: no-referrer", "  Strict-Transport-Security: max-age=31536000", ""].join("\n"),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("..", import.meta.url)), site = root + "build/netlify";
  try {
    const made = files((process.env.RELAY_URL || "").replace(/\/+$/, ""), process.env.RELAY_LIVE_URL);
    rmSync(site, { recursive: true, force: true });
    mkdirSync(site, { recursive: true });
    cpSync(root + "dashboard", site, { recursive: true, filter: (path) => !/\/(tools|tests|__pycache__)(\/|$)|\.(py|d\.ts)$/.test(path) });
    for (const [name, text] of Object.entries(made)) writeFileSync(`${site}/${name}`, text);
  } catch (error) {
    console.error(`netlify: ${error.message}`);
    process.exit(1);
  }
}
