// What the block chart and its words say. Pure.
import { clock, money, ms, pct, span, tokens } from "./format.js";

/** How much of the block is used, and how sure that is.
 * official: the tool told us. guess: against the largest earlier block. none: tokens only.
 * @returns {{kind: "official"|"guess"|"none", percent: number|null}} */
export function share(b, recent) {
  if (b.percent != null && b.percent_basis !== "largest earlier block") return { kind: "official", percent: b.percent };
  if (b.percent != null) return { kind: "guess", percent: b.percent };
  const most = Math.max(0, ...recent.map((r) => r.tokens ?? 0));
  return most > 0 ? { kind: "guess", percent: (100 * (b.tokens?.total ?? 0)) / most } : { kind: "none", percent: null };
}
/** The chart's numbers in its own unit: points, projection, limit and the top of the axis. */
export function scale(b) {
  const percent = b.unit !== "tokens";
  const official = percent && b.percent_basis !== "largest earlier block";
  const limit = percent ? 100 : b.limit ?? null;
  const points = (b.curve ?? []).map((p) => [Math.min(b.to, Math.max(b.from, ms(p[0]) ?? b.from)), p[1] ?? 0]);
  const end = points[points.length - 1] ?? [b.from, 0];
  const p = b.projection;
  const to = (v) => (v == null ? null : percent ? v : limit ? (v * limit) / 100 : null);
  const value = !p ? null : percent ? p.percent : p.tokens ?? to(p.percent);
  const proj = value == null ? null : { value, low: Math.min(value, to(p.low) ?? value), high: Math.max(value, to(p.high) ?? value) };
  const most = Math.max(end[1], ...points.map((q) => q[1]), proj ? Math.min(proj.high, official ? 156 : proj.value * 1.3) : 0, proj?.value ?? 0);
  const max = limit ? Math.max(limit * 1.12, official ? Math.min(most * 1.04, 300) : most * 1.04) : (most || 1) * 1.15;
  return { percent, official, limit, points, end, proj, max, over: official && !!proj && proj.value >= 100, say: (v) => (percent ? pct(v) : tokens(v)) };
}
/** Where the block is heading, in a sentence. @returns {{tone: ""|"good"|"warn"|"bad", text: string}} */
export function verdict(b, recent) {
  const p = b.projection, s = share(b, recent);
  if (s.kind === "official" && (s.percent ?? 0) >= 100) return { tone: "bad", text: `The limit is reached; resets at ${clock(b.to)}` };
  if (!p) return { tone: "", text: "Nothing under way, nothing to project" };
  if (s.kind !== "official" || p.percent == null) return { tone: "", text: p.tokens != null ? `Heading for about ${tokens(p.tokens)} tokens${p.cost != null ? `, ${money(p.cost)}` : ""}` : "Too early to say where this is heading" };
  const hit = ms(p.hit_at);
  if (hit != null && hit < b.to) return { tone: "bad", text: `Reaches the limit at ${clock(hit)}, ${span(b.to - hit)} before it resets` };
  const range = p.low != null && p.high != null && Math.round(p.low) !== Math.round(p.high) ? `, likely ${Math.round(p.low)}–${pct(p.high)}` : "";
  return { tone: (p.high ?? p.percent) >= 100 ? "warn" : "good", text: `Heading for ${pct(p.percent)} at reset${range}` };
}
/** A round step for an axis with about *n* lines. */
export function step(max, n) {
  const raw = max / n, p = 10 ** Math.floor(Math.log10(raw || 1)), m = raw / p;
  return (m <= 1 ? 1 : m <= 2 ? 2 : m <= 2.5 ? 2.5 : m <= 5 ? 5 : 10) * p;
}
