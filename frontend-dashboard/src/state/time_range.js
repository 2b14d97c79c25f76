/**
 * A time range as it is written in the URL, and what it means at a given moment. Pure: `nowMs` comes in.
 *
 * A bound is `now`, `now-6h`, `now-1d/d` (rounded down to the unit in UTC) or milliseconds since the epoch.
 * @typedef {{from: string, to: string}} Range
 * @typedef {{fromMs: number, toMs: number}} Span
 */

const UNITS_MS = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  M: 2_592_000_000,
  y: 31_536_000_000,
};
const BOUND = /^now(?:([+-])(\d{1,6})([smhdwMy]))?(?:\/([smhdwMy]))?$/;

export const PRESETS = [
  ["5m", "5 minutes"],
  ["15m", "15 minutes"],
  ["30m", "30 minutes"],
  ["1h", "1 hour"],
  ["3h", "3 hours"],
  ["6h", "6 hours"],
  ["12h", "12 hours"],
  ["24h", "24 hours"],
  ["2d", "2 days"],
  ["7d", "7 days"],
  ["30d", "30 days"],
  ["90d", "90 days"],
];
export const DEFAULT_RANGE = Object.freeze({ from: "now-1h", to: "now" });

/** The start, in UTC, of the `unit` that `ms` lies in; weeks start on Monday. */
export function floorTo(ms, unit) {
  const date = new Date(ms);
  if (unit === "M") return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  if (unit === "y") return Date.UTC(date.getUTCFullYear(), 0, 1);
  const offset = unit === "w" ? 4 * UNITS_MS.d : 0; // the epoch was a Thursday
  return Math.floor((ms - offset) / UNITS_MS[unit]) * UNITS_MS[unit] + offset;
}

/** Milliseconds of one bound; null when it cannot be read. A zone-less `2026-11-22 14:00` is local time. */
export function parseBound(text, nowMs) {
  const trimmed = text.trim();
  const match = BOUND.exec(trimmed);
  if (match) {
    const [, sign, count, unit, rounding] = match;
    const moved = nowMs + (sign ? (sign === "-" ? -1 : 1) * Number(count) * UNITS_MS[unit] : 0);
    return rounding ? floorTo(moved, rounding) : moved;
  }
  if (/^\d{10}$/.test(trimmed)) return Number(trimmed) * 1000;
  if (/^\d{11,15}$/.test(trimmed)) return Number(trimmed);
  if (!/^\d{4}-\d{2}-\d{2}/.test(trimmed)) return null;
  const parsed = Date.parse(/^\d{4}-\d{2}-\d{2}$/.test(trimmed) ? `${trimmed}T00:00:00` : trimmed.replace(" ", "T"));
  return Number.isNaN(parsed) ? null : parsed;
}

/** The span a range means now; null when a bound cannot be read or the end is not after the start. */
export function resolve(range, nowMs) {
  const fromMs = parseBound(range.from, nowMs);
  const toMs = parseBound(range.to, nowMs);
  return fromMs === null || toMs === null || toMs <= fromMs ? null : { fromMs, toMs };
}

/** Whether time moves the range: only such a range refreshes. */
export function isRelative(range) {
  return range.to.startsWith("now");
}

/** `Last 6 hours`, or null for a range that is no preset. */
export function presetLabel(range) {
  if (range.to !== "now") return null;
  const preset = PRESETS.find(([length]) => range.from === `now-${length}`);
  return preset ? `Last ${preset[1]}` : null;
}

/** An absolute range; whole milliseconds. */
export function absolute(fromMs, toMs) {
  return { from: String(Math.round(fromMs)), to: String(Math.round(toMs)) };
}

/** The span grown or shrunk about its middle: factor 2 shows twice as much time; never below one second. */
export function zoom(span, factor) {
  const middle = (span.fromMs + span.toMs) / 2;
  const half = Math.max(((span.toMs - span.fromMs) * factor) / 2, 500);
  return { fromMs: middle - half, toMs: middle + half };
}

const ZOOM_MIN_S = 5;
const ZOOM_MAX_S = 10 * 365 * 86_400;

/** `now-30m`: the largest unit that says it exactly; minutes are near enough for more than a day. */
function agoOf(seconds) {
  const bounded = Math.min(Math.max(Math.round(seconds), ZOOM_MIN_S), ZOOM_MAX_S);
  const whole = bounded > 86_400 ? Math.round(bounded / 60) * 60 : bounded;
  const [unit, length] =
    whole % 86_400 === 0 && whole > 86_400
      ? ["d", 86_400]
      : ([
          ["h", 3_600],
          ["m", 60],
        ].find(([, size]) => whole % size === 0) ?? ["s", 1]);
  return `now-${whole / length}${unit}`;
}

/**
 * The range seen from further away or nearer. One that ends now goes on ending now: it stays live. A fixed one keeps
 * its middle, and does not reach further into the future, where there is nothing to see.
 */
export function zoomed(range, span, factor, nowMs) {
  if (range.to === "now") return { from: agoOf(((span.toMs - span.fromMs) / 1000) * factor), to: "now" };
  const { fromMs, toMs } = zoom(span, factor);
  return absolute(fromMs, Math.min(toMs, Math.max(span.toMs, nowMs)));
}

/** The span moved by a part of its length; negative is into the past. */
export function pan(span, part) {
  const shift = (span.toMs - span.fromMs) * part;
  return { fromMs: span.fromMs + shift, toMs: span.toMs + shift };
}
