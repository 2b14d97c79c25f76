/**
 * Prometheus answers → aligned columns, the form charts and tables use. Pure.
 *
 * @typedef {{labels: Record<string, string>, values: (number|null)[]}} Series
 * @typedef {{times: number[], series: Series[]}} Table  times: seconds, one entry a step; values as long as times,
 * null = no sample
 */

/** A sample value: Prometheus writes numbers as strings, NaN and infinities included. */
export function parseValue(text) {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

/**
 * A range answer laid on its evaluation grid. A step without a sample is null: a gap stays a gap. NaN draws as a gap
 * too.
 * @param {{resultType: string, result: object[]}} data
 * @param {{start: number, end: number, step: number}} grid seconds; both ends inclusive
 * @returns {Table}
 */
export function toTable(data, grid) {
  const length = Math.floor((grid.end - grid.start) / grid.step + 1e-6) + 1;
  const times = Array.from({ length }, (_, index) => grid.start + index * grid.step);
  const rows = data.resultType === "matrix" ? data.result : [];
  const series = rows.map((row) => {
    const values = new Array(length).fill(null);
    for (const [time, text] of row.values ?? []) {
      const index = Math.round((time - grid.start) / grid.step);
      const value = parseValue(text);
      if (index >= 0 && index < length && !Number.isNaN(value)) values[index] = value;
    }
    return { labels: row.metric, values };
  });
  return { times, series };
}

/** An instant answer (vector or scalar) as `[{labels, value, time}]`. */
export function toVector(data) {
  if (data.resultType === "scalar") return [{ labels: {}, value: parseValue(data.result[1]), time: data.result[0] }];
  if (data.resultType !== "vector") return [];
  return data.result
    .filter((row) => row.value)
    .map((row) => ({ labels: row.metric, value: parseValue(row.value[1]), time: row.value[0] }));
}

/** last, min, max and mean of what is there; null where nothing is. */
export function summary(values) {
  let last = null;
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  let count = 0;
  for (const value of values) {
    if (value === null || value === undefined) continue;
    last = value;
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
    count += 1;
  }
  return count === 0
    ? { last: null, min: null, max: null, mean: null, count }
    : { last, min, max, mean: sum / count, count };
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

/** CSV of a table: ISO time, then one column a series; quotes doubled, gaps empty. */
export function toCsv(table, names) {
  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [["time", ...names].map(cell).join(",")];
  table.times.forEach((time, index) => {
    lines.push(
      [new Date(time * 1000).toISOString(), ...table.series.map(({ values }) => (values[index] ?? "").toString())].join(
        ",",
      ),
    );
  });
  return `${lines.join("\r\n")}\r\n`;
}
