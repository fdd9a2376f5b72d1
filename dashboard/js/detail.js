// One session, opened: its tokens by kind, when they were used, how the cost comes about, where the numbers come from.
import { html, name as named, useEffect, useState } from "./lib.js";
import * as S from "./store.js";
import { clock, count, dateOf, DAY, dayShort, HOUR, MINUTE, modelName, money, ms, plural, tokens, toolName, when } from "./format.js";
import { useWidth } from "./charts.js";

const PROVENANCE = {
  observed: "Read from the tool's own log, request by request.",
  declared: "As a tracker declared it: a total without times, so it is booked at the session's start.",
  telemetry: "Told by the tool's own telemetry, request by request.",
};
const provenanceText = (p) => PROVENANCE[p ?? ""] ?? "Where these numbers come from is not recorded.";
const KINDS = /** @type {[string, string, string][]} */ ([["input", "Input", "c-p1"], ["output", "Output", "c-p2"], ["cache_write", "Cache write", "c-p3"], ["cache_read", "Cache read", "c-other"]]);
const kindsOf = (t) => ({ input: t.input ?? 0, output: t.output ?? 0, cache_write: (t.cache_write_5m ?? 0) + (t.cache_write_1h ?? 0), cache_read: t.cache_read ?? 0 });

const STEPS = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168, 336, 672, 1344, 2688].map((h) => h * HOUR);
/** Down or up to a whole step of local time. */
const whole = (t, step, round) => { const off = new Date(t).getTimezoneOffset() * MINUTE; return round((t - off) / step) * step + off; };

/** Usage rows as at most *n* bars of equal length in time, between whole hours. */
export function bucketed(usage, n) {
  const rows = usage.map((u) => ({ at: ms(u.at) ?? 0, ...kindsOf(u) })).filter((r) => r.at);
  if (!rows.length) return { bars: [], from: 0, to: 0, each: 0 };
  const first = Math.min(...rows.map((r) => r.at)), last = Math.max(...rows.map((r) => r.at)) + 15 * MINUTE;
  const each = STEPS.find((step) => (last - first) / step <= n - 2) ?? STEPS[STEPS.length - 1], edge = Math.max(each, HOUR);
  const from = whole(first, edge, Math.floor), to = whole(last, edge, Math.ceil);
  const bars = Array.from({ length: Math.round((to - from) / each) }, (_, i) => ({ at: from + i * each, input: 0, output: 0, cache_write: 0, cache_read: 0 }));
  for (const r of rows) { const b = bars[Math.min(bars.length - 1, Math.floor((r.at - from) / each))]; for (const [k] of KINDS) b[/** @type {"input"} */ (k)] += r[/** @type {"input"} */ (k)]; }
  return { bars, from, to, each };
}
/** What an axis of *w* pixels says, and where: whole local hours or days, no two of them close. */
export function ticks(from, to, each, w) {
  const step = STEPS.find((t) => t >= Math.max(each, HOUR) && (t / (to - from)) * w >= 64) ?? to - from, out = [];
  for (let at = whole(from, step, Math.ceil); at <= to; at += step) {
    const t = step < DAY ? at : new Date(at + 12 * HOUR).setHours(0, 0, 0, 0), time = clock(t); // not every day has 24 hours
    if (t < from || t > to) continue;
    out.push({ x: ((t - from) / (to - from)) * w, text: step >= DAY || (time === "00:00" && to - from > DAY) ? dayShort(dateOf(t)) : time });
  }
  return out;
}
function Buckets({ usage }) {
  const [ref, w] = useWidth(480), h = 92, foot = 20, { bars, from, to, each } = bucketed(usage, Math.max(12, Math.min(96, Math.floor(w / 8))));
  const sum = (b) => b.input + b.output + b.cache_write + b.cache_read;
  const max = Math.max(1, ...bars.map(sum)), slot = w / Math.max(1, bars.length), bw = Math.min(32, Math.max(1.5, slot * 0.72)), long = each < HOUR ? `${each / MINUTE} minutes` : plural(each / HOUR, "hour");
  return html`<div class="when"><p class="sub">Tokens over time, at most ${tokens(max)} in ${long}</p><div class="chart bars" ref=${ref}><svg width=${w} height=${h + foot} role="img" aria-label=${`Tokens over time, at most ${tokens(max)} in ${long}`}>
    ${bars.map((b, i) => { let y = h; return KINDS.map(([k, , c]) => { const v = (b[/** @type {"input"} */ (k)] / max) * (h - 4); y -= v; return v > 0.3 && html`<rect class=${c} x=${(i * slot + (slot - bw) / 2).toFixed(1)} y=${y.toFixed(1)} width=${bw.toFixed(1)} height=${v.toFixed(1)} />`; }); })}
    <line class="base" x1="0" x2=${w} y1=${h} y2=${h} />
    ${ticks(from, to, each, w).map(({ x, text }) => html`<line class="base" x1=${x.toFixed(1)} x2=${x.toFixed(1)} y1=${h} y2=${h + 4} /><text class="tick" x=${x.toFixed(1)} y=${h + 16} text-anchor=${x < 20 ? "start" : x > w - 20 ? "end" : "middle"}>${text}</text>`)}</svg></div></div>`;
}
const KIND = { cache_write_5m: "cache write, 5 min", cache_write_1h: "cache write, 1 h", cache_read: "cache read" };
/** A cost explained: lines of one price together, the dearest first. */
export function explained(lines) {
  const sums = new Map();
  for (const l of lines) {
    const key = [l.model, l.price_class, l.kind, l.usd_per_million].join("|"), sum = sums.get(key);
    if (sum) { sum.tokens += l.tokens; if (l.amount != null) sum.amount += l.amount; } else sums.set(key, { ...l });
  }
  return [...sums.values()].sort((a, b) => (b.amount ?? -1) - (a.amount ?? -1) || b.tokens - a.tokens);
}
const rate = (l) => (l.usd_per_million == null ? "no price known" : `$${l.usd_per_million.toFixed(4).replace(/0{1,2}$/, "")} per million`);
const dated = (t) => (t ? new Date(t).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }) : "");
function Cost({ cost, s }) {
  const lines = explained(cost.lines), few = lines.slice(0, 12), rest = lines.slice(12), add = (k) => rest.reduce((a, l) => a + (l[k] ?? 0), 0);
  return html`<table class="totals cost-lines"><thead><tr><th scope="col">Cost, line by line</th><th scope="col" class="r">Tokens</th><th scope="col" class="r price">Price</th><th scope="col" class="r">Cost</th></tr></thead>
    <tbody>${few.map((l) => html`<tr title=${l.source ? `Price read from ${l.source}${l.source_date ? ` on ${l.source_date}` : ""}` : ""}><th scope="row"><bdi>${modelName(l.model)}</bdi> <span class="sub">${KIND[l.kind] ?? l.kind}${l.price_class && l.price_class !== "standard" ? ` · ${l.price_class.replaceAll("+", ", ").replaceAll(":", " ")}` : ""}</span><span class="sub small">${rate(l)}</span></th><td class="num r">${tokens(l.tokens)}</td><td class="num r price sub">${rate(l)}</td><td class="num r">${money(l.amount)}</td></tr>`)}
      ${rest.length > 0 && html`<tr><th scope="row">${plural(rest.length, "smaller line")}</th><td class="num r">${tokens(add("tokens"))}</td><td class="price"></td><td class="num r">${money(add("amount"))}</td></tr>`}</tbody>
    <tfoot><tr><th scope="row">Total${cost.price_book?.date ? html` <span class="sub">prices as of ${dated(cost.price_book.date)}</span>` : ""}</th><td class="num r">${tokens(s.all)}</td><td class="price"></td><td class="num r">${money(cost.cost ?? s.cost)}</td></tr></tfoot></table>`;
}
/** One fetch for an open row, again when the session has moved on. */
function useAnswer(ask, path, mark) {
  const [a, set] = useState(/** @type {{v: any, failed: boolean}} */ ({ v: null, failed: false }));
  useEffect(() => {
    const stop = new AbortController();
    ask(path, stop.signal).then((v) => set({ v, failed: false }), (e) => { if (e.name !== "AbortError") set((old) => ({ v: old.v, failed: true })); });
    return () => stop.abort();
  }, [path, mark]);
  return a;
}
export function Detail({ s, ask }) {
  const path = `sessions/${encodeURIComponent(s.key)}`, mark = `${s.last}/${s.all}`;
  const one = useAnswer(ask, path, mark), cost = useAnswer(ask, path + "/cost", mark), k = kindsOf(s.tokens ?? {}), now = S.minute.value;
  const unpriced = s.unpriced ?? [], sum = Math.max(1, s.all);
  const fact = (name, v) => v != null && v !== "" && html`<div><dt>${name}</dt><dd class="num" title=${String(v).length > 50 ? v : null}>${named(v)}</dd></div>`;
  return html`<div class="opened"><div>
    <div class="kinds"><div class="mix" aria-hidden="true">${KINDS.map(([id, , c]) => k[/** @type {"input"} */ (id)] > 0 && html`<span class=${c} style=${{ flexGrow: k[/** @type {"input"} */ (id)] / sum }}></span>`)}</div>
      <dl>${KINDS.map(([id, name, c]) => html`<div><dt><i class=${c} aria-hidden="true"></i>${name}</dt><dd class="num" title=${count(k[/** @type {"input"} */ (id)])}>${tokens(k[/** @type {"input"} */ (id)])}</dd></div>`)}</dl></div>
    <dl class="about">${fact("Started", s.start ? when(s.start, now) : "")}${fact("Last active", when(s.last, now))}${fact("Messages", s.total_messages ? count(s.total_messages) : "")}${fact("Branch", s.git_branch)}${fact("Tool", toolName(s.session_type))}${fact("Machine", s.machine)}${fact("Models", (s.models_used ?? []).map(modelName).join(", "))}${fact("Context", s.context?.size ? `${tokens(s.context.used)} of ${tokens(s.context.size)}` : "")}${fact("Session", s.id)}</dl>
    ${s.all > 0 && one.v?.usage?.length > 0 && html`<${Buckets} usage=${one.v.usage} />`}
    ${cost.v?.lines?.length > 0 ? html`<${Cost} cost=${cost.v} s=${s} />` : (one.failed || cost.failed) && html`<p class="sub">Buckets and cost line by line are shown when a source is connected.</p>`}
    <p class="sub note">${provenanceText(s.provenance)} ${unpriced.length > 0 ? `No price is known for ${unpriced.map(modelName).join(", ")}. ` : s.cost != null ? "Costs are list prices in force when the tokens were used, not a bill. " : ""}${s.reported_cost ? `The tool itself reported ${money(s.reported_cost)}. ` : ""}${s.origin === "gone" ? "Its log file has been deleted since; the numbers were kept. " : s.origin?.startsWith("imported") ? `${s.origin[0].toUpperCase()}${s.origin.slice(1)}. ` : ""}${one.v?.sources?.length > 1 ? `Seen from ${plural(one.v.sources.length, "machine")}, counted once.` : ""}</p>
  </div></div>`;
}
