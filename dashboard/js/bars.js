// The two large charts: a month in stacked bars and a year of days. No floating tooltips: pointing at a day, or
// walking to it with the arrow keys, changes the table or the line below, which works on touch and covers nothing.
import { html, memo, useMemo } from "./lib.js";
import { dayName, dayShort, money, monthName, plural, tokens, utc } from "./format.js";
import { useWidth } from "./charts.js";
import { step as stepOf } from "./scale.js";

const f = (n) => n.toFixed(1);
/** Arrow keys move the picked one. */
const walk = (pick, n, onPick, by) => (e) => {
  const from = pick ?? n, to = e.key === "Home" ? 0 : e.key === "End" ? n - 1 : by[e.key] !== undefined ? from + by[e.key] : null;
  if (to === null) return;
  e.preventDefault();
  onPick(Math.max(0, Math.min(n - 1, to)));
};

/** Stacked bars, one a day. rows: [{date, all, parts: [[colour, value]]}], bottom first. */
export const Bars = memo(({ rows, unit, pick, onPick }) => {
  const [ref, w] = useWidth(700), h = w > 560 ? 288 : 232;
  const left = 44, right = 4, top = 8, bottom = h - 22, n = rows.length, most = Math.max(0, ...rows.map((r) => r.all));
  const step = stepOf(most || 3, 3), max = step * Math.max(1, Math.ceil(most / step - 1e-9)), slot = (w - left - right) / n, bw = Math.max(2, Math.min(26, slot * 0.68));
  const Y = (v) => bottom - (v / max) * (bottom - top);
  const say = unit === "cost" ? (v) => "$" + (v >= 1000 ? tokens(v).replace(/\.0+(?=\D)/, "") : step < 1 ? v.toFixed(2) : step % 1 ? v.toFixed(1) : v) : (v) => (v ? tokens(v).replace(/\.?0+(?=\D)/, "") : "0");
  const every = w < 420 ? 7 : 5;
  const move = (e) => { const i = Math.floor((e.clientX - e.currentTarget.getBoundingClientRect().left - left) / slot); onPick(i >= 0 && i < n ? i : null); };
  return html`<div class="chart bars" ref=${ref} style=${{ height: h + "px" }}>
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
export const Heat = memo(({ days, pick, onPick }) => {
  const [ref, w] = useWidth(340);
  const left = 28, head = 16, gap = 3, n = days.length, first = (new Date(utc(days[0].date)).getUTCDay() + 6) % 7;
  const weeks = Math.ceil((first + n) / 7), fit = Math.max(8, Math.floor((w - left + gap) / (9 + gap))), bands = Math.ceil(weeks / fit), per = Math.ceil(weeks / bands);
  const cell = Math.min(15, (w - left + gap) / per - gap), step = cell + gap, tall = head + step * 7 + 6;
  const levels = useMemo(() => {
    const all = days.map((d) => d.cost || (d.tokens ? 1e-6 : 0)), some = all.filter((v) => v > 0).sort((a, b) => a - b);
    const q = [0.25, 0.5, 0.75].map((p) => some[Math.floor(some.length * p)] ?? 0);
    return all.map((v) => (v <= 0 ? 0 : v < q[0] ? 1 : v < q[1] ? 2 : v < q[2] ? 3 : 4));
  }, [days]);
  const place = (i) => { const week = Math.floor((first + i) / 7), band = Math.floor(week / per); return [left + (week % per) * step, head + band * tall + ((first + i) % 7) * step, week % per]; };
  const months = days.flatMap((d, i) => { const [x, y, col] = place(i); return d.date.endsWith("-01") && col < per - 1 ? [[x + ((first + i) % 7 ? step : 0), y - ((first + i) % 7) * step - 6, monthName(d.date)]] : []; });
  const at = (e) => { const i = e.target.dataset?.i; onPick(i == null ? null : +i); };
  const d = pick != null ? days[pick] : null;
  return html`<div class="chart heat" ref=${ref}>
    <svg width=${w} height=${tall * bands - 6} tabindex="0" role="img" aria-label="Calendar of daily cost. Arrow keys read a day." onPointerOver=${at} onPointerDown=${at} onPointerLeave=${() => onPick(null)} onKeyDown=${walk(pick, n, onPick, { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 })} onBlur=${() => onPick(null)}>
      ${months.map(([x, y, m]) => html`<text class="tick" x=${f(x)} y=${f(y)}>${m}</text>`)}
      ${Array.from({ length: bands }, (_, b) => ["Mon", "Wed", "Fri"].map((name, i) => html`<text class="tick" x="0" y=${f(head + b * tall + i * 2 * step + cell - 1)}>${name}</text>`))}
      ${days.map((day, i) => { const [x, y] = place(i); return html`<rect data-i=${i} class=${"h" + levels[i] + (pick === i ? " on" : "")} x=${f(x)} y=${f(y)} width=${f(cell)} height=${f(cell)} rx="2" />`; })}</svg>
    <p class="readout num" aria-live="polite">${d ? html`<b>${dayName(d.date)}</b> ${d.tokens || d.cost ? `${money(d.cost)} · ${tokens(d.tokens)} · ${plural(d.sessions ?? 0, "session")}` : "nothing"}` : html`<span class="scale">Less ${[0, 1, 2, 3, 4].map((i) => html`<i class=${"h" + i}></i>`)} More</span>`}</p></div>`;
});
