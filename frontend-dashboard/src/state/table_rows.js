/** The rows of a chart's table. Pure. */

import { format } from "../format/units.js";

const ROWS_MAX = 120;
const COLUMNS_MAX = 12;

/**
 * Newest moment first; a value with the least and greatest of its step where a point stands for many samples.
 * @returns {{head: string[], rows: {timeS: number, cells: string[]}[], more: string}} `more`: what is left out
 */
export function rowsOf({ times, series }, names, unit) {
  const shown = series.slice(0, COLUMNS_MAX);
  const cell = ({ values, lows, highs }, at) => {
    const text = format(values[at], unit);
    if (!lows || !highs || highs[at] === null || lows[at] === highs[at]) return text;
    return `${text} (${format(lows[at], unit)} – ${format(highs[at], unit)})`;
  };
  const moments = times
    .map((_, at) => at)
    .filter((at) => series.some(({ values, highs }) => (values[at] ?? highs?.[at] ?? null) !== null));
  const left = [
    series.length > shown.length && `${series.length - shown.length} more series`,
    moments.length > ROWS_MAX && `${moments.length - ROWS_MAX} earlier moments`,
  ].filter(Boolean);
  return {
    head: names.slice(0, COLUMNS_MAX),
    rows: moments
      .slice(-ROWS_MAX)
      .toReversed()
      .map((at) => ({ timeS: times[at], cells: shown.map((one) => cell(one, at)) })),
    more: left.length === 0 ? "" : `Not shown here: ${left.join(" and ")}.`,
  };
}
