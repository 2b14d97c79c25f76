/** Jobs and their results, as the page tells them. Pure. */

import { duration } from "../format/units.js";

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
