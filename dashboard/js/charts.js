// Small SVG charts: no library, coloured by the style sheet, readable by a screen reader.
import { html, useRef, useState, useLayoutEffect, memo } from "./lib.js";
import { clock, pct, tokens, HOUR } from "./format.js";
import { scale, share } from "./scale.js";

/** The width of an element, followed: measured before anything is painted, so that no frame is too wide for its panel.
 * The height, too, of one that takes what its panel leaves.
 * @param {number} guess @param {boolean} [grows] @returns {[any, number, number]} */
export function useWidth(guess, grows) {
  const ref = useRef(null);
  const [w, set] = useState(guess), [h, setHeight] = useState(0);
  useLayoutEffect(() => {
    const measure = () => { const n = ref.current.clientWidth; if (n > 60) set(n); if (grows) setHeight(ref.current.clientHeight); };
    const watch = new ResizeObserver(measure);
    measure();
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  return [ref, w, h];
}
export const f = (n) => n.toFixed(1);

/** Use over the five hours, an even pace, and where it is heading. */
export const BlockChart = memo(({ b, recent, h = 196 }) => {
  const [ref, w] = useWidth(560);
  const top = 16, bottom = h - 20, right = w - 44, s = scale(b), p = s.proj, low = s.limit < s.max / 2; // where the curve begins, its name would stand in the way
  const X = (t) => ((t - b.from) / (b.to - b.from || 1)) * right;
  const Y = (v) => bottom - (Math.min(v, s.max) / s.max) * (bottom - top);
  const line = s.points.map((q, i) => `${i ? "L" : "M"}${f(X(q[0]))} ${f(Y(q[1]))}`).join("");
  const [nx, ny] = [X(s.end[0]), Y(s.end[1])], over = s.over ? " over" : "", sh = share(b, recent);
  const label = (sh.percent == null ? `${tokens(b.tokens?.total)} tokens used` : `${pct(sh.percent)} of ${sh.kind === "official" ? "the limit" : "your largest earlier block"} used`)
    + (p ? `, heading for ${s.say(p.value)} at ${clock(b.to)}` : "");
  const ticks = Array.from({ length: Math.floor((b.to - b.from) / HOUR) + 1 }, (_, i) => b.from + i * HOUR);
  return html`<div class="chart block-chart" ref=${ref} style=${{ height: h + "px" }}><svg width=${w} height=${h} role="img" aria-label=${label}>
    ${ticks.map((t, i) => html`<line class="rule" x1=${f(X(t))} x2=${f(X(t))} y1=${top} y2=${bottom} />
      ${(w >= 420 || i % 2 === 0) && html`<text class="tick" x=${f(X(t))} y=${h - 5} text-anchor=${i === 0 ? "start" : "middle"}>${clock(t)}</text>`}`)}
    <line class="base" x1="0" x2=${right} y1=${bottom} y2=${bottom} />
    ${s.limit && html`<line class="pace" x1="0" y1=${bottom} x2=${right} y2=${f(Y(s.limit))} />
      <line class=${"limit" + (s.official ? "" : " guess")} x1="0" x2=${right} y1=${f(Y(s.limit))} y2=${f(Y(s.limit))} />
      <text class="tick strong over-lines" x=${low ? right - 5 : 5} text-anchor=${low ? "end" : "start"} y=${f(Y(s.limit) - 6)}>${s.official ? "Limit" : "Largest earlier block"}</text>`}
    ${p && html`<polygon class=${"cone" + over} points=${`${f(nx)},${f(ny)} ${right},${f(Y(p.high))} ${right},${f(Y(p.low))}`} />
      <line class=${"proj" + over} x1=${f(nx)} y1=${f(ny)} x2=${right} y2=${f(Y(p.value))} />
      <circle class=${"end" + over} cx=${right} cy=${f(Y(p.value))} r="3" />
      <text class="val" x=${right + 8} y=${f(Y(p.value) + 4)}>${s.say(p.value)}</text>`}
    ${line && html`<path class="area" d=${`${line}L${f(nx)} ${bottom}L${f(X(s.points[0][0]))} ${bottom}Z`} /><path class="line" d=${line} />`}
    <line class="now" x1=${f(nx)} x2=${f(nx)} y1=${f(ny)} y2=${bottom} /><circle class="dot" cx=${f(nx)} cy=${f(ny)} r="4" />
  </svg></div>`;
});

/** Earlier blocks, one thin bar each, and the current one. list: [{v: share 0..100, hit}] */
export const Blocks = memo(({ list, label, h = 54 }) => {
  const [ref, w] = useWidth(320);
  const bw = Math.min(9, (w / Math.max(1, list.length)) * 0.5), Y = (v) => h - (Math.min(v, 100) / 100) * (h - 6);
  return html`<div class="chart blocks" ref=${ref} style=${{ height: h + "px" }}><svg width=${w} height=${h} role="img" aria-label=${label}>
    <line class="rule" x1="0" x2=${w} y1="6" y2="6" />
    ${list.map((r, i) => html`<rect class=${r.now ? "cur" : r.hit ? "hit" : ""} x=${f(list.length > 1 ? i * ((w - bw) / (list.length - 1)) : 0)} y=${f(Y(r.v))} width=${f(bw)} height=${f(Math.max(1, h - Y(r.v)))} rx="1.5" />`)}</svg></div>`;
});

/** Twenty-four hours: when the work happens. */
export const Hours = memo(({ v, h = 40 }) => {
  const [ref, w] = useWidth(320);
  const slot = w / 24, most = Math.max(...v), max = most || 1;
  return html`<div class="chart hours" ref=${ref} style=${{ height: h + 18 + "px" }}><svg width=${w} height=${h + 18} role="img" aria-label=${most ? `Cost by hour of the day, most at ${v.indexOf(most)}:00` : "No use in the last 30 days"}>
    ${v.map((n, i) => html`<rect x=${f(i * slot)} y=${f(h - Math.max(1, (n / max) * h))} width=${f(slot * 0.5)} height=${f(Math.max(1, (n / max) * h))} rx="1.5" />`)}
    ${[0, 6, 12, 18].map((i) => html`<text class="tick" x=${f(i * slot)} y=${h + 14}>${String(i).padStart(2, "0")}</text>`)}</svg></div>`;
});

/** A row of thin bars as one path. */
export const Spark = memo(({ v, w = 120, h = 26, label }) => {
  const max = Math.max(1, ...v), slot = w / Math.max(1, v.length), bw = Math.max(1, slot - 1);
  const d = v.map((n, i) => { const bh = Math.max(1, (n / max) * h); return `M${f(i * slot)} ${h}v${f(-bh)}h${f(bw)}v${f(bh)}z`; }).join("");
  return html`<svg class="spark" width=${w} height=${h} viewBox=${`0 0 ${w} ${h}`} preserveAspectRatio="none" role="img" aria-label=${label}><path d=${d} /></svg>`;
});

/** What is used, a tick where an even pace would be, and nothing else. */
export function Meter({ value, pace, label, tone = "" }) {
  const v = Math.max(0, Math.min(100, value ?? 0));
  return html`<div class=${"meter " + tone} role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(v)} aria-valuetext=${pct(value)} aria-label=${label}>
    <span style=${{ width: v + "%" }}></span>${pace != null && html`<i style=${{ left: Math.max(0, Math.min(100, pace)) + "%" }}></i>`}</div>`;
}
