/**
 * What may be said of each source of `up`: up, down, or silent since when. Pure: `nowS` comes in.
 *
 *   up           its newest sample is fresh and says 1
 *   down         its newest sample is fresh and says 0: somebody looked and found it down
 *   silent       no sample for two and a half of its intervals: nobody knows, so it is never told as up
 *
 * @typedef {{job: string, instance: string, up: number|null, seenS: number|null, intervalS: number}} Target  seenS:
 * the time of its newest sample
 */

const SETTLE_S = 10; // samples arrive this long after they were taken
const INTERVAL_S = 60; // Prometheus' default, until the data says otherwise
const BAR_S = 60;
const EVIDENCE_S = 30; // an answer is evidence this long, or three refreshes
export const HUB = [
  "data-api-service",
  "data-ingest-service",
  "analysis-processing-service",
  "user-billing-service",
  "frontend-dashboard",
  "node",
];

const keyOf = ({ job = "", instance = "" }) => JSON.stringify([job, instance]);

/**
 * Every source of the last day, from instant vectors by job and instance.
 * @param {{up: object[], seen: object[], history: object[], intervals: object[]}} vectors `up`: the newest values,
 * `seen`: their times, `history`: the newest time of each source of the last day, `intervals`: seconds between samples
 * @returns {Target[]}
 */
export function targetsOf({ up, seen, history, intervals }) {
  const targets = new Map();
  for (const { labels, value } of [...history, ...seen]) {
    const key = keyOf(labels);
    const seenS = Math.max(value, targets.get(key)?.seenS ?? 0);
    const { job = "(no job)", instance = "" } = labels;
    targets.set(key, { job, instance, up: null, seenS, intervalS: INTERVAL_S });
  }
  for (const { labels, value } of up) if (targets.has(keyOf(labels))) targets.get(keyOf(labels)).up = value;
  for (const { labels, value } of intervals)
    if (value > 0 && targets.has(keyOf(labels))) targets.get(keyOf(labels)).intervalS = value;
  return [...targets.values()];
}

/** @returns {"up"|"down"|"silent"} */
export function stateOf({ up, seenS, intervalS }, nowS) {
  if (up === null || nowS - seenS > 2.5 * intervalS + SETTLE_S) return "silent";
  return up >= 1 ? "up" : "down";
}

/**
 * One row a job, the hub's own first: its bars, what holds now, and since when it is silent.
 * @param {import("../api/matrix.js").Table} table the least `up` of each job, one step a bar
 * @param {Target[]} targets
 * @param {string[]} known jobs of the last week; those of no target are silent for over a day
 */
export function healthRows(table, targets, known, nowS) {
  const jobs = new Map(known.map((job) => [job, []]));
  for (const target of targets) jobs.set(target.job, [...(jobs.get(target.job) ?? []), target]);
  const bars = new Map(table.series.map(({ labels, values }) => [labels.job ?? "(no job)", values]));
  return [...jobs]
    .map(([job, own]) => {
      const intervalS = Math.max(BAR_S / 4, ...own.map((target) => target.intervalS));
      const values = carried(bars.get(job) ?? table.times.map(() => null), Math.floor((2 * intervalS) / BAR_S));
      const seen = values.filter((value) => value !== null);
      const states = own.map((target) => stateOf(target, nowS));
      const silent = own.filter((_, index) => states[index] === "silent");
      const down = states.filter((state) => state === "down").length;
      return {
        job,
        states: values.map((value) => (value === null ? "none" : value >= 1 ? "up" : "down")),
        now: nowOf(own.length, down, silent.length),
        count: own.length,
        down,
        silent: silent.length,
        sinceS: silent.length === 0 ? null : Math.max(...silent.map(({ seenS }) => seenS)),
        seenS: own.length === 0 ? null : Math.max(...own.map(({ seenS }) => seenS)),
        seen: seen.length,
        uptime: seen.length === 0 ? null : seen.reduce((sum, value) => sum + Math.min(value, 1), 0) / seen.length,
      };
    })
    .sort((a, b) => rank(a.job) - rank(b.job) || a.job.localeCompare(b.job));
}

function nowOf(count, down, silent) {
  if (silent === count) return "silent";
  if (down === count) return "down";
  return down + silent > 0 ? "part" : "up";
}

/** The values with each known one held for `bars` more steps: its next sample was not due earlier. */
function carried(values, bars) {
  let last = -Infinity;
  return values.map((value, index) => {
    if (value !== null) last = index;
    return value === null && index - last <= bars ? values[last] : value;
  });
}

function rank(job) {
  const at = HUB.indexOf(job);
  return at < 0 ? HUB.length : at;
}

/** What a row says now, in words; `clock` prints seconds as a time of day. */
export function rowWords({ now, count, down, silent, sinceS }, clock) {
  const since = sinceS === null ? "for over a day" : `since ${clock(sinceS)}`;
  if (now === "up") return "Up";
  if (now === "down") return "Down";
  if (now === "silent") return `Silent ${since}`;
  return [down > 0 && `${down} of ${count} down`, silent > 0 && `${silent} of ${count} silent ${since}`]
    .filter(Boolean)
    .join(", ");
}

/**
 * The one sentence over all rows. Without an answer that is fresh nothing is claimed.
 * @param {{answeredS: number|null, failed: boolean, refreshS: number}} evidence
 * @returns {{state: "up"|"down"|"silent"|"none", words: string}}
 */
export function verdict(rows, { answeredS, failed, refreshS }, nowS, clock) {
  if (answeredS === null) return { state: "none", words: failed ? "Not known: the hub does not answer" : "" };
  if (failed || nowS - answeredS > Math.max(3 * refreshS, EVIDENCE_S))
    return { state: "none", words: `Not known since ${clock(answeredS)}` };
  if (rows.length === 0) return { state: "none", words: "Waiting for the first samples" };
  const say = (row) => {
    const words = rowWords(row, clock);
    return `${row.job}: ${words.slice(0, 1).toLowerCase()}${words.slice(1)}`;
  };
  const bad = rows.filter(({ now }) => now !== "up");
  if (bad.length === 0) return { state: "up", words: "Everything is up" };
  const state = bad.some(({ down }) => down > 0) ? "down" : "silent";
  const more = bad.length > 3 ? `; and ${bad.length - 3} more` : "";
  return { state, words: bad.slice(0, 3).map(say).join("; ") + more };
}
