/** One cursor across all charts: the chart under the pointer says its time, every other one shows it. */

const charts = new Set();

/** `chart.showTime(timeS | null)` is called for the pointer of others, until the returned function is called. */
export function joinCursor(chart) {
  charts.add(chart);
  return () => charts.delete(chart);
}

/** The pointer is over `from` at `timeS`; null when it left. */
export function moveCursor(from, timeS) {
  for (const chart of charts) if (chart !== from) chart.showTime(timeS);
}
