/** Jobs and their results, as the page tells them. Pure. */

import { duration } from "../format/units.js";
import { shortNames } from "./query.js";

const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const POINTS_MAX = 11_000;
const POINTS_WANTED = 1_500;

export function isDone(job) {
  return ["succeeded", "failed", "cancelled"].includes(job.state);
}

/** What a job is doing, in one line. */
export function progressWords(job) {
  const { done = 0, total = 0, message = "", eta_s: etaS = null } = job.progress ?? {};
  if (job.state === "queued") return "Waiting for a worker";
  const parts = [message || "Running"];
  if (total > 0) parts.push(`${Math.floor((100 * done) / total)} %`);
  if (etaS !== null && etaS > 0) parts.push(`about ${duration(Math.ceil(etaS))} left`);
  return parts.join(" · ");
}

/** The steps that keep a range within the API's points, and the one nearest to a good number of them. */
export function stepChoices({ fromMs, toMs }) {
  const seconds = (toMs - fromMs) / 1000;
  const fitting = STEPS_S.filter((step) => seconds / step <= POINTS_MAX && seconds / step >= 20);
  const choices = fitting.length > 0 ? fitting : [seconds / 20 < STEPS_S[0] ? STEPS_S[0] : STEPS_S.at(-1)];
  const best = choices.reduce((a, b) =>
    Math.abs(Math.log(seconds / b / POINTS_WANTED)) < Math.abs(Math.log(seconds / a / POINTS_WANTED)) ? b : a,
  );
  return { choices, best };
}

/** One name a series of a result. */
export function resultNames(result) {
  return shortNames(
    result.series.map(({ labels }) => labels),
    "value",
  );
}

/**
 * A series of a result as chart columns on an even grid: where samples are missing for more than a step and a half
 * there is a null, so that the gap stays a gap. `marked` has the values inside of episodes only.
 */
export function anomalyColumns(series, stepMs) {
  const columns = { times: [], values: [], expected: [], lower: [], upper: [], marked: [] };
  const inside = (ms) => series.anomalies.some(({ start_ms: from, end_ms: to }) => ms >= from && ms <= to);
  const push = (ms, value, expected, lower, upper) => {
    columns.times.push(ms / 1000);
    columns.values.push(value);
    columns.expected.push(expected);
    columns.lower.push(lower);
    columns.upper.push(upper);
    columns.marked.push(value !== null && inside(ms) ? value : null);
  };
  const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
  series.timestamps_ms.forEach((ms, index) => {
    const before = series.timestamps_ms[index - 1];
    if (before !== undefined && ms - before > stepMs * 1.5) push(before + stepMs, null, null, null, null);
    push(
      ms,
      number(series.values[index]),
      number(series.expected[index]),
      number(series.lower[index]),
      number(series.upper[index]),
    );
  });
  return columns;
}
