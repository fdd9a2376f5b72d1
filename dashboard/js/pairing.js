// Reading a pairing link. It carries its key behind the #, which no server ever sees; theme.js takes it out of the
// address before anything else runs. Pure, and loaded only when there is one.

const KEY = /^sr_(read|admin|push)_([A-Za-z0-9-]{8,})_[A-Za-z0-9]+_[0-9a-f]{8}$/;

/** An address as every other part uses it: ending in a slash; "" when it may not be used.
 * Only a relay on this computer may be plain http: a key must not cross a network in the open. */
export function baseOf(text) {
  try {
    const u = new URL(text);
    const local = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(u.hostname);
    if (u.protocol !== "https:" && !(u.protocol === "http:" && local)) return "";
    return u.origin + u.pathname.replace(/\/?$/, "/");
  } catch { return ""; }
}
/** What a link or a pasted text asks for: a pair, or a sentence that says why not.
 * @param {string} text "#relay=…&key=…", a whole link, or a bare key @param {string} self the page's own base @returns {Pair|string} */
export function read(text, self) {
  const t = text.trim();
  const part = t.includes("#") ? t.slice(t.indexOf("#") + 1) : KEY.test(t) ? "key=" + t : t;
  const p = new URLSearchParams(part), key = p.get("key") ?? "";
  const host = p.get("relay") ?? (t.includes("#") && /^https?:/.test(t) ? t.slice(0, t.indexOf("#")) : "");
  // A page that a relay serves over plain http is already what the person trusts: its own base needs no rule.
  const relay = !host || host === self ? self : baseOf(host);
  const m = key.match(KEY), s = p.get("seal") ?? "", seal = /^[\w-]{43}$/.test(s) ? { seal: s } : {};
  if (s && !seal.seal) return "The key that opens names is not whole. Copy the whole link.";
  if (!key && seal.seal) return { relay: self, key: "", name: "", ...seal };
  if (!m) return "That is not a key of this product. Copy the whole link.";
  if (m[1] === "push") return "That key is for an agent. This page needs a read key.";
  if (!relay) return "The relay's address must begin with https://";
  return { relay, key, name: p.get("name")?.slice(0, 60) ?? "", ...seal };
}
