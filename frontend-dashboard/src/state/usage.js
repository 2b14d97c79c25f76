/** Usage as bars of days. Pure. */

import { format } from "../format/units.js";

const DAY_MS = 86_400_000;
const SHOWN = { active_series: "p95", stored_bytes: "mean", seats: "max" };
const TITLES = {
  samples: "Samples stored",
  active_series: "Active series",
  stored_bytes: "Bytes stored",
  query_samples: "Samples read by queries",
  analysis_runs: "Analyses",
  seats: "Members",
};

/** A meter in words; an organisation's own ones have their code. */
export function titleOf(meter) {
  return TITLES[meter] ?? meter;
}

/** Whether the hub itself counts it, and not the organisation. */
export function isOfHub(meter) {
  return meter in TITLES;
}

/** What of a day counts: the sum, or the number that the meter is billed by. */
export function measureOf(meter) {
  return SHOWN[meter] ?? "sum";
}

/** A quantity of decimal text, as one reads it. */
export function quantity(text, meter = "") {
  return format(Number(text), meter === "stored_bytes" ? "bytes" : "none");
}

/** [first of the month, first of the next) around `nowMs`, UTC; `back` months earlier. */
export function monthOf(nowMs, back = 0) {
  const now = new Date(nowMs);
  const first = (months) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months);
  return { startMs: first(-back), endMs: first(1 - back) };
}

/**
 * One bar a day of the month; days without usage are 0, those to come null.
 * @param {{start: string, meter: string, sum: string, max: string, mean: string, p95: string|null}[]} buckets
 * @returns {{dayMs: number, value: number|null, share: number}[]} share: of the tallest, 0 to 1
 */
export function barsOf(buckets, meter, { startMs, endMs }, nowMs) {
  const measure = measureOf(meter);
  const byDay = new Map();
  for (const bucket of buckets)
    if (bucket.meter === meter) byDay.set(Date.parse(bucket.start), Number(bucket[measure] ?? bucket.max));
  const bars = [];
  for (let dayMs = startMs; dayMs < endMs; dayMs += DAY_MS)
    bars.push({ dayMs, value: dayMs > nowMs ? null : (byDay.get(dayMs) ?? 0) });
  const tallest = Math.max(...bars.map(({ value }) => value ?? 0));
  return bars.map((bar) => ({ ...bar, share: tallest > 0 ? (bar.value ?? 0) / tallest : 0 }));
}

/** The meters that have usage, those of the hub first. */
export function metersOf(buckets) {
  const all = [...new Set(buckets.map(({ meter }) => meter))];
  const hubs = Object.keys(TITLES);
  const place = (meter) => (hubs.includes(meter) ? hubs.indexOf(meter) : hubs.length);
  return all.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}
