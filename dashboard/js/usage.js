// What was used: a month in bars, the same numbers as a table, a year as a calendar. No floating tooltips: pointing at
// a day, or walking to it with the arrow keys, changes the table or the line below, which works on touch and covers
// nothing.
import { html, memo, name, useState, useMemo } from "./lib.js";
import * as S from "./store.js";
import { count, dayName, dayShort, modelName, money, monthName, pct, plural, short, tokens, toolName, utc } from "./format.js";
import { f, Hours, useWidth } from "./charts.js";
import { step as stepOf } from "./scale.js";
import { prefs } from "./kept.js";

const SPLITS = { models: ["Model", modelName], projects: ["Project", (p) => p || "No project"], machines: ["Machine", (m) => m || "Unknown"], tools: ["Tool", toolName] };

/** Arrow keys move the picked one, from today on. */
const walk = (pick, n, onPick, by) => (e) => {
  const to = e.key === "Home" ? 0 : e.key === "End" ? n - 1 : by[e.key] && (pick == null ? n - 1 : pick + by[e.key]);
  if (to == null) return;
  e.preventDefault();
  onPick(Math.max(0, Math.min(n - 1, to)));
};

/** Stacked bars, one a day. rows: [{date, all, parts: [[colour, value]]}], bottom first. */
const Bars = memo(({ rows, unit, pick, onPick }) => {
  const [ref, w, room] = useWidth(700, true), least = w > 560 ? 288 : 232, h = Math.max(least, room);
  const left = 44, right = 4, top = 8, bottom = h - 22, n = rows.length, most = Math.max(0, ...rows.map((r) => r.all));
  const step = stepOf(most || 3, 3), max = step * Math.max(1, Math.ceil(most / step - 1e-9)), slot = (w - left - right) / n, bw = Math.max(2, Math.min(26, slot * 0.68));
  const Y = (v) => bottom - (v / max) * (bottom - top);
  const say = unit === "cost" ? (v) => "$" + (v >= 1000 ? short(v) : step < 1 ? v.toFixed(2) : step % 1 ? v.toFixed(1) : v) : short;
  const every = w < 420 ? 7 : 5;
  const move = (e) => { const i = Math.floor((e.clientX - e.currentTarget.getBoundingClientRect().left - left) / slot); onPick(i >= 0 && i < n ? i : null); };
  return html`<div class="chart bars" ref=${ref} style=${{ minHeight: least + "px" }}>
    <svg width=${w} height=${h} tabindex="0" role="img" aria-label="Stacked bars, one a day. Arrow keys read a day; the table below has the totals." onPointerMove=${move} onPointerDown=${move} onPointerLeave=${(e) => e.pointerType === "mouse" && onPick(null)} onKeyDown=${walk(pick, n, onPick, { ArrowLeft: -1, ArrowRight: 1 })} onBlur=${() => onPick(null)}>
      ${Array.from({ length: Math.round(max / step) + 1 }, (_, i) => i * step).map((v) => html`<line class=${v ? "rule" : "base"} x1=${left} x2=${w - right} y1=${f(Y(v))} y2=${f(Y(v))} /><text class="tick" x=${left - 8} y=${f(Y(v) + 4)} text-anchor="end">${say(v)}</text>`)}
      ${rows.map((r, i) => {
        const x = left + slot * i + (slot - bw) / 2, last = i === n - 1;
        let y = bottom;
        return html`<g class=${pick === i ? "on" : pick != null ? "off" : ""}>${pick === i && html`<rect class="under" x=${f(left + slot * i)} y=${top} width=${f(slot)} height=${bottom - top} />`}
          ${r.parts.map(([c, v], j) => { const bh = (v / max) * (bottom - top); y -= bh; return bh > 0.4 && html`<rect class=${c} x=${f(x)} y=${f(y)} width=${f(bw)} height=${f(Math.max(0.5, bh - (j && bh > 2 ? 1 : 0)))} rx="1" />`; })}
          ${(last || (n - 1 - i) % every === 0) && html`<text class=${"tick" + (last ? " strong" : "")} x=${f(last ? w - right : x + bw / 2)} y=${h - 6} text-anchor=${last ? "end" : "middle"}>${last ? "Today" : dayShort(r.date)}</text>`}</g>`;
      })}</svg></div>`;
});

/** A year of days in five steps of one colour, in as many rows of weeks as the width asks for. */
const Heat = memo(({ days, unit, pick, onPick }) => {
  const [ref, w] = useWidth(340);
  const left = 28, head = 16, gap = 3, n = days.length, first = (new Date(utc(days[0].date)).getUTCDay() + 6) % 7;
  const weeks = Math.ceil((first + n) / 7), fit = Math.max(8, Math.floor((w - left + gap) / (9 + gap))), bands = Math.ceil(weeks / fit), per = Math.ceil(weeks / bands);
  const cell = Math.min(15, (w - left + gap) / per - gap), step = cell + gap, tall = head + step * 7 + 6;
  const levels = useMemo(() => {
    const all = days.map((d) => whole(d, unit) || (d.tokens ? 1e-6 : 0)), some = all.filter((v) => v > 0).sort((a, b) => a - b);
    const q = [0.25, 0.5, 0.75].map((p) => some[Math.floor(some.length * p)] ?? 0);
    return all.map((v) => (v <= 0 ? 0 : v < q[0] ? 1 : v < q[1] ? 2 : v < q[2] ? 3 : 4));
  }, [days, unit]);
  const place = (i) => { const week = Math.floor((first + i) / 7), band = Math.floor(week / per); return [left + (week % per) * step, head + band * tall + ((first + i) % 7) * step, week % per]; };
  const months = days.flatMap((d, i) => { const [x, y, col] = place(i); return d.date.endsWith("-01") && col < per - 1 ? [[x + ((first + i) % 7 ? step : 0), y - ((first + i) % 7) * step - 6, monthName(d.date)]] : []; });
  const at = (e) => { const i = e.target.dataset?.i; onPick(i == null ? null : +i); };
  const d = pick != null ? days[pick] : null;
  return html`<div class="chart heat" ref=${ref}>
    <svg width=${w} height=${tall * bands - 6} tabindex="0" role="img" aria-label="Calendar of daily cost. Arrow keys read a day." onPointerOver=${at} onPointerDown=${at} onPointerLeave=${() => onPick(null)} onKeyDown=${walk(pick, n, onPick, { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 })} onBlur=${() => onPick(null)}>
      ${months.map(([x, y, m]) => html`<text class="tick" x=${f(x)} y=${f(y)}>${m}</text>`)}
      ${Array.from({ length: bands }, (_, b) => ["Mon", "Wed", "Fri"].map((name, i) => html`<text class="tick" x="0" y=${f(head + b * tall + i * 2 * step + cell - 1)}>${name}</text>`))}
      ${days.map((day, i) => { const [x, y] = place(i); return html`<rect data-i=${i} class=${"h" + levels[i] + (pick === i ? " on" : "")} x=${f(x)} y=${f(y)} width=${f(cell)} height=${f(cell)} rx="2" />`; })}</svg>
    <p class="readout num" aria-live="polite">${d ? html`<b>${dayName(d.date)}</b> ${d.tokens || d.cost ? `${unit === "cost" ? money(d.cost) + " · " : ""}${tokens(d.tokens)} · ${plural(d.sessions ?? 0, "session")}` : "nothing"}` : html`<span class="scale">Less ${[0, 1, 2, 3, 4].map((i) => html`<i class=${"h" + i}></i>`)} More</span>`}</p></div>`;
});

function Segments({ value, onChange, options, label }) {
  return html`<div class="seg" role="radiogroup" aria-label=${label}>${options.map(([id, name]) => html`<label class=${value === id ? "on" : ""}><input type="radio" name=${label} checked=${value === id} onChange=${() => onChange(id)} />${name}</label>`)}</div>`;
}
/** A preference that stays. @returns {[string, (v: string) => void]} */
function usePref(k, all) {
  const [v, set] = useState(() => prefs.get(k, ""));
  return [all.includes(v) ? v : all[0], (n) => { set(n); prefs.set(k, n); }];
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
  const keys = top.map((id, n) => ({ id, name: SPLITS[by][1](id), colour: by === "models" ? S.colour(id) : n < 5 ? "c-p" + (n + 1) : "c-other" }));
  return { keys, others: order.length - top.length };
}
export function Usage() {
  const splits = Object.keys(SPLITS).filter((by) => !/projects|machines/.test(by) || S.sees(by)), [by, setBy] = usePref("split", splits), [liked, setUnit] = usePref("unit", ["cost", "tokens"]), unit = S.costless.value ? "tokens" : liked, [pick, setPick] = useState(null);
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
      <td class="share"><span aria-hidden="true"><i class=${colour} style=${{ width: share + "%" }}></i></span><b class="num">${pct(share)}</b></td></tr>`;
  };
  return html`<section class="cell usage" id="usage" aria-labelledby="h-usage">
    <header><h2 id="h-usage">Usage</h2><span class="quiet">last 30 days</span><span class="grow"></span>
      <${Segments} label="Split" value=${by} onChange=${setBy} options=${splits.map((id) => [id, SPLITS[id][0]])} />
      ${!S.costless.value && html`<${Segments} label="Unit" value=${unit} onChange=${setUnit} options=${[["cost", "Cost"], ["tokens", "Tokens"]]} />`}</header>
    <${Bars} rows=${rows} unit=${unit} pick=${pick} onPick=${setPick} />
    <table class="totals"><thead><tr><th scope="col">${SPLITS[by][0]}</th>${spans.map(([name, , hot]) => html`<th scope="col" class=${"r" + (hot ? " hot" : "")}>${name}</th>`)}<th scope="col" class="share">Share</th></tr></thead>
      <tbody>${keys.map((k) => line(k.id, k.name, k.colour, (d) => value(d, by, k.id, i)))}${others > 0 && line("", `${others} others`, "c-other", rest)}</tbody>
      <tfoot><tr><th scope="row">Total</th>${spans.map(([, list, hot]) => html`<td class=${"num r" + (hot ? " hot" : "")}>${fmt(sum(list, (d) => whole(d, unit)))}</td>`)}<td class="share"></td></tr></tfoot></table>
    <p class="sr" aria-live="polite">${day ? `${dayName(day.date)}: ${fmt(whole(day, unit))}` : ""}</p>
    ${unit === "cost" && S.unpriced.value.length > 0 && html`<p class="sub note">Without ${plural(S.unpriced.value.length, "model")} that no price is known for: <bdi>${S.unpriced.value.slice(0, 3).map(modelName).join(", ")}${S.unpriced.value.length > 3 ? " …" : ""}</bdi></p>`}
  </section>`;
}
function factsOf(year, amount) {
  let run = 0, best = 0, on = 0, sum = 0, top = year[0];
  for (const d of year) {
    if (d.tokens || d.cost) { on++; run++; best = Math.max(best, run); } else run = 0;
    if (amount(d) > amount(top)) top = d;
    sum += amount(d);
  }
  return { best, on, sum, top };
}
export function Calendar() {
  const [pick, setPick] = useState(null), known = S.calmDays.value, end = S.today.value;
  const year = useMemo(() => S.calendar(known, 371 - ((8 - (new Date(end + "T00:00:00Z").getUTCDay() || 7)) % 7), end), [known, end]), unit = S.costless.value ? "tokens" : "cost", fmt = unit === "cost" ? money : tokens, facts = useMemo(() => factsOf(year, (d) => whole(d, unit)), [year, unit]);
  const fact = (name, v) => html`<div><dt>${name}</dt><dd class="num">${v}</dd></div>`;
  return html`<section class="cell calendar" aria-labelledby="h-cal"><header><h2 id="h-cal">Calendar</h2><span class="quiet">last 12 months</span></header>
    <${Heat} days=${year} unit=${unit} pick=${pick} onPick=${setPick} />
    <dl class="facts">${fact("Active days", count(facts.on))}${fact("Longest run", plural(facts.best, "day"))}${fact("Per active day", fmt(facts.on ? facts.sum / facts.on : 0))}
      ${fact("Busiest day", facts.on ? html`${fmt(whole(facts.top, unit))} <span class="sub">${dayShort(facts.top.date)}</span>` : "–")}</dl>
    ${S.hours.value.length === 24 && html`<div class="more-of"><div class="row"><h3>Hour of the day</h3><span class="sub">last 30 days</span></div><${Hours} v=${S.hours.value} /></div>`}
  </section>`;
}
