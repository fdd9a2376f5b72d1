// What was used: a month in bars, the same numbers as a table, a year as a calendar.
import { html, name, useState, useMemo } from "./lib.js";
import * as S from "./store.js";
import { count, dayName, dayShort, modelName, money, plural, tokens, toolName } from "./format.js";
import { Hours } from "./charts.js";
import { Bars, Heat } from "./bars.js";
import { prefs } from "./kept.js";

const SPLITS = /** @type {Record<string, [string, (id: string) => string]>} */ ({ models: ["Model", modelName], projects: ["Project", (p) => p || "No project"], machines: ["Machine", (m) => m || "Unknown"], tools: ["Tool", toolName] });
const HUES = ["p1", "p2", "p3", "p4", "p5"];

export function Segments({ value, onChange, options, label }) {
  return html`<div class="seg" role="radiogroup" aria-label=${label}>${options.map(([id, name]) => html`<label class=${value === id ? "on" : ""}><input type="radio" name=${label} checked=${value === id} onChange=${() => onChange(id)} />${name}</label>`)}</div>`;
}
/** A preference that stays. @returns {[string, (v: string) => void]} */
function usePref(k, all) {
  const [v, set] = useState(() => { const p = prefs.get(k, all[0]); return all.includes(p) ? p : all[0]; });
  return [v, (n) => { set(n); prefs.set(k, n); }];
}
/** i: 0 tokens, 1 cost */
const value = (day, by, id, i) => day[by]?.[id]?.[i] ?? 0;
const whole = (day, unit) => (unit === "cost" ? day.cost : day.tokens) ?? 0;
const sum = (list, of) => list.reduce((a, d) => a + of(d), 0);

/** The largest five, in order, and one for all others. */
function keysOf(month, by, i) {
  const sum = new Map();
  for (const d of month) for (const [id, v] of Object.entries(d[by] ?? {})) sum.set(id, (sum.get(id) ?? 0) + (v[i] ?? 0) + v[0] * 1e-12);
  const order = [...sum].sort((a, b) => b[1] - a[1]).map(([id]) => id), top = order.slice(0, order.length === 6 ? 6 : 5);
  const keys = top.map((id, n) => ({ id, name: SPLITS[by][1](id), colour: by === "models" ? S.colour(id) : n < 5 ? "c-" + HUES[n] : "c-other" }));
  return { keys, others: order.length - top.length };
}
export function Usage() {
  const [by, setBy] = usePref("split", Object.keys(SPLITS)), [unit, setUnit] = usePref("unit", ["cost", "tokens"]), [pick, setPick] = useState(/** @type {number|null} */ (null));
  const end = S.today.value, known = S.days.value, month = useMemo(() => S.calendar(known, 30, end), [known, end]);
  const i = unit === "cost" ? 1 : 0, fmt = unit === "cost" ? money : tokens, colours = S.colours.value;
  const { keys, others } = useMemo(() => keysOf(month, by, i), [month, by, i, colours]);
  const rest = (d) => Math.max(0, whole(d, unit) - keys.reduce((a, k) => a + value(d, by, k.id, i), 0));
  const rows = useMemo(() => month.map((d) => {
    const parts = [...keys.map((k) => [k.colour, value(d, by, k.id, i)]), ["c-other", others ? rest(d) : 0]];
    return { date: d.date, all: sum(parts, (p) => p[1]), parts };
  }), [month, keys]);
  const day = pick != null && pick < month.length - 1 ? month[pick] : null;
  // The first column is the day under the pointer: today, unless another one is picked.
  const spans = /** @type {[string, any[], boolean][]} */ ([[day ? dayName(day.date) : "Today", day ? [day] : month.slice(-1), !!day], ["7 days", month.slice(-7), false], ["30 days", month, false]]);
  const grand = sum(month, (d) => whole(d, unit)) || 1;
  const line = (id, text, colour, of) => {
    const share = (100 * sum(month, of)) / grand;
    return html`<tr key=${id}><th scope="row" title=${id}><i class=${colour} aria-hidden="true"></i>${name(text)}</th>${spans.map(([, list, hot]) => html`<td class=${"num r" + (hot ? " hot" : "")}>${fmt(sum(list, of))}</td>`)}
      <td class="share"><span aria-hidden="true"><i class=${colour} style=${{ width: share + "%" }}></i></span><b class="num">${Math.round(share)}%</b></td></tr>`;
  };
  return html`<section class="cell usage" id="usage" aria-labelledby="h-usage">
    <header><h2 id="h-usage">Usage</h2><span class="quiet">last 30 days</span><span class="grow"></span>
      <${Segments} label="Split" value=${by} onChange=${setBy} options=${Object.entries(SPLITS).map(([id, [name]]) => [id, name])} />
      <${Segments} label="Unit" value=${unit} onChange=${setUnit} options=${[["cost", "Cost"], ["tokens", "Tokens"]]} /></header>
    <${Bars} rows=${rows} unit=${unit} pick=${pick} onPick=${setPick} />
    <table class="totals"><thead><tr><th scope="col">${SPLITS[by][0]}</th>${spans.map(([name, , hot]) => html`<th scope="col" class=${"r" + (hot ? " hot" : "")}>${name}</th>`)}<th scope="col" class="share">Share</th></tr></thead>
      <tbody>${keys.map((k) => line(k.id, k.name, k.colour, (d) => value(d, by, k.id, i)))}${others > 0 && line("", `${others} others`, "c-other", rest)}</tbody>
      <tfoot><tr><th scope="row">Total</th>${spans.map(([, list, hot]) => html`<td class=${"num r" + (hot ? " hot" : "")}>${fmt(sum(list, (d) => whole(d, unit)))}</td>`)}<td class="share"></td></tr></tfoot></table>
    <p class="sr" aria-live="polite">${day ? `${dayName(day.date)}: ${fmt(whole(day, unit))}` : ""}</p>
    ${unit === "cost" && S.unpriced.value.length > 0 && html`<p class="sub note">Without ${plural(S.unpriced.value.length, "model")} that no price is known for: <bdi>${S.unpriced.value.slice(0, 3).map(modelName).join(", ")}${S.unpriced.value.length > 3 ? " …" : ""}</bdi></p>`}
  </section>`;
}
function factsOf(year) {
  let run = 0, best = 0, on = 0, sum = 0, top = year[0];
  for (const d of year) {
    if (d.tokens || d.cost) { on++; run++; best = Math.max(best, run); } else run = 0;
    if ((d.cost ?? 0) > (top.cost ?? 0)) top = d;
    sum += d.cost ?? 0;
  }
  return { best, on, sum, top };
}
export function Calendar() {
  const [pick, setPick] = useState(/** @type {number|null} */ (null)), known = S.calmDays.value, end = S.today.value;
  const year = useMemo(() => S.calendar(known, 371 - ((8 - (new Date(end + "T00:00:00Z").getUTCDay() || 7)) % 7), end), [known, end]), facts = useMemo(() => factsOf(year), [year]);
  const fact = (name, v) => html`<div><dt>${name}</dt><dd class="num">${v}</dd></div>`;
  return html`<section class="cell calendar" aria-labelledby="h-cal"><header><h2 id="h-cal">Calendar</h2><span class="quiet">last 12 months</span></header>
    <${Heat} days=${year} pick=${pick} onPick=${setPick} />
    <dl class="facts">${fact("Active days", count(facts.on))}${fact("Longest run", plural(facts.best, "day"))}${fact("Per active day", money(facts.on ? facts.sum / facts.on : 0))}
      ${fact("Busiest day", facts.on ? html`${money(facts.top.cost)} <span class="sub">${dayShort(facts.top.date)}</span>` : "–")}</dl>
    ${S.hours.value.length === 24 && html`<div class="more-of"><div class="row"><h3>Hour of the day</h3><span class="sub">last 30 days</span></div><${Hours} v=${S.hours.value} /></div>`}
  </section>`;
}
