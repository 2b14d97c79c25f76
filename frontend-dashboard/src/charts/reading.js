/** Where arrow keys stand on a chart, as a moment: its index changes with each refresh. Pure. */

/** The index of the point at `timeS`, or of the one nearest to it; -1 where there is none. */
export function indexOf(times, timeS) {
  if (times.length === 0) return -1;
  const after = times.findIndex((time) => time >= timeS);
  if (after < 0) return times.length - 1;
  return after > 0 && timeS - times[after - 1] < times[after] - timeS ? after - 1 : after;
}

/** The index `by` points on from `timeS`; from the near end where nothing is read yet (null). */
export function nextIndex(times, timeS, by) {
  const start = timeS === null ? (by < 0 ? times.length : -1) : indexOf(times, timeS);
  return Math.min(Math.max(start + by, 0), times.length - 1);
}
