/** What one number on the Overview may say: now, of whom, and nothing when its newest step has no sample. Pure. */

/**
 * @param {import("../api/matrix.js").Table} table one series a host where `worst` is asked for, else one in all
 * @param {{note?: string, worst?: boolean, warnAt?: number, badAt?: number}} spec `worst`: the greatest is told
 * @param {(seconds: number) => string} clock
 * @returns {{value: number|null, values: (number|null)[], level: "none"|"good"|"warn"|"bad", note: string}}
 */
export function tileOf({ times, series }, { note = "", worst = false, warnAt = Infinity, badAt = Infinity }, clock) {
  const current = series.filter(({ values }) => values.at(-1) !== null);
  if (current.length === 0) {
    const last = Math.max(-1, ...series.map(({ values }) => values.findLastIndex((value) => value !== null)));
    const said = last < 0 ? "no samples" : `no sample since ${clock(times[last])}`;
    return { value: null, values: series[0]?.values ?? [], level: "none", note: said };
  }
  const one = current.reduce((a, b) => (b.values.at(-1) > a.values.at(-1) ? b : a));
  const value = one.values.at(-1);
  const level = value >= badAt ? "bad" : value >= warnAt ? "warn" : "good";
  const parts = [level === "good" ? note : "high"];
  if (worst)
    parts.push(current.length === 1 ? placeOf(one.labels) : `${placeOf(one.labels)}, worst of ${current.length}`);
  const silent = series.length - current.length;
  if (silent > 0) parts.push(`${silent} silent`);
  return { value, values: one.highs ?? one.values, level, note: parts.filter(Boolean).join(" · ") };
}

/** `/data on db-1`, `db-1`. */
function placeOf({ instance = "", mountpoint = "" }) {
  return [mountpoint, instance].filter(Boolean).join(" on ");
}
