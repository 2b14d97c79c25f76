/**
 * Prometheus answers → aligned columns, the form charts and tables use. Pure.
 *
 * @typedef {{labels: Record<string, string>, values: (number|null)[]}} Series
 * @typedef {{times: number[], series: Series[]}} Table  times: seconds, one entry a step; values as long as times,
 * null = no sample
 */

import { atOnce } from "../state/steps.js";

export const ROWS_A_STEP = 100; // some 36,000 values

/** A sample value: Prometheus writes numbers as strings, NaN and infinities included. */
export function parseValue(text) {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

/** The times of a grid, seconds; both ends inclusive. */
export function timesOf({ start, end, step }) {
  const length = Math.floor((end - start) / step + 1e-6) + 1;
  return Array.from({ length }, (_, index) => start + index * step);
}

/**
 * A range answer laid on its evaluation grid. A step without a sample is null: a gap stays a gap. NaN draws as a gap
 * too.
 * @param {{resultType: string, result: object[]}} data
 * @param {{start: number, end: number, step: number}} grid seconds; both ends inclusive
 * @returns {Table}
 */
export function toTable(data, grid) {
  return atOnce(tableInSteps(data, grid));
}

/** The same, with a `yield` after each ROWS_A_STEP series. */
export function* tableInSteps(data, grid) {
  const times = timesOf(grid);
  const rows = data.resultType === "matrix" ? data.result : [];
  const series = [];
  for (const row of rows) {
    series.push({ labels: row.metric, values: columnOf(row, grid, times.length) });
    if (series.length % ROWS_A_STEP === 0) yield;
  }
  return { times, series };
}

function columnOf(row, { start, step }, length) {
  const values = new Array(length).fill(null);
  for (const [time, text] of row.values ?? []) {
    const index = Math.round((time - start) / step);
    const value = parseValue(text);
    if (index >= 0 && index < length && !Number.isNaN(value)) values[index] = value;
  }
  return values;
}

/** An instant answer (vector or scalar) as `[{labels, value, time}]`. */
export function toVector(data) {
  if (data.resultType === "scalar") return [{ labels: {}, value: parseValue(data.result[1]), time: data.result[0] }];
  if (data.resultType !== "vector") return [];
  return data.result
    .filter((row) => row.value)
    .map((row) => ({ labels: row.metric, value: parseValue(row.value[1]), time: row.value[0] }));
}

/**
 * last, min, max and mean of what is there; null where nothing is. `lows`, `highs` and `means` tell of what lies
 * between the points, where a point stands for many samples.
 */
export function summary(values, { lows = null, highs = null, means = null } = {}) {
  let [min, max, sum, count] = [Infinity, -Infinity, 0, 0];
  for (const value of lows ?? values) if (value !== null) min = Math.min(min, value);
  for (const value of highs ?? values) if (value !== null) max = Math.max(max, value);
  for (const value of means ?? values) {
    if (value === null) continue;
    sum += value;
    count += 1;
  }
  const last = values.findLast((value) => value !== null) ?? null;
  const some = min <= max;
  return { last, min: some ? min : null, max: some ? max : null, mean: count === 0 ? null : sum / count, count };
}

/**
 * Columns on top of one another, for stacked areas: each is the sum of itself and those below; a gap in a column adds
 * nothing, a step where all are missing stays a gap.
 */
export function stack(columns) {
  const length = columns[0]?.length ?? 0;
  const below = new Array(length).fill(0);
  const present = Array.from({ length }, (_, index) => columns.some((column) => column[index] !== null));
  return columns.map((column) =>
    Array.from({ length }, (_, index) => {
      if (!present[index]) return null;
      below[index] += column[index] ?? 0;
      return below[index];
    }),
  );
}

/**
 * CSV of a table: ISO time, then one column a series, and its least and greatest where points stand for many samples;
 * quotes doubled, gaps empty.
 */
export function toCsv(table, names) {
  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const columns = table.series.flatMap(({ values, lows, highs }, index) => [
    [names[index], values],
    ...(lows ? [[`${names[index]} min`, lows]] : []),
    ...(highs ? [[`${names[index]} max`, highs]] : []),
  ]);
  const lines = [["time", ...columns.map(([name]) => name)].map(cell).join(",")];
  table.times.forEach((time, index) => {
    const cells = columns.map(([, values]) => (values[index] ?? "").toString());
    lines.push([new Date(time * 1000).toISOString(), ...cells].join(","));
  });
  return `${lines.join("\r\n")}\r\n`;
}
