/** Answers of a panel's queries → the series it draws, tells and names. Pure. */

import { ROWS_A_STEP, tableInSteps } from "../api/matrix.js";
import { fullName, shortNames } from "./query.js";
import { atOnce } from "./steps.js";
import { keyOf } from "./visibility.js";

const NONE = { resultType: "matrix", result: [] };

/**
 * @typedef {object} DrawnSeries
 * @property {Record<string, string>} labels
 * @property {string} name in a legend
 * @property {string} title in full
 * @property {string} identity who it is, for its colour
 * @property {string} key for the URL
 * @property {(number|null)[]} values at the points
 * @property {(number|null)[]|null} lows least value of each step; null: every sample is a point
 * @property {(number|null)[]|null} highs
 * @property {(number|null)[]|null} means
 * @property {boolean} negate drawn below zero
 */

/**
 * @param {{query: string, name?: string, negate?: boolean, color?: string}[]} queries
 * @param {{data: object, low?: object, high?: object, mean?: object}[]} answers Prometheus data, one for each query
 * @param {import("./sampling.js").Grid} points
 * @param {{distinct?: boolean}} options distinct: a later query adds only names that the ones before it have not
 * @returns {DrawnSeries[]}
 */
export function seriesOf(queries, answers, points, options) {
  return atOnce(seriesInSteps(queries, answers, points, options));
}

/** The same, with a `yield` wherever ROWS_A_STEP series are done. */
export function* seriesInSteps(queries, answers, points, { distinct = false } = {}) {
  const drawn = [];
  const taken = { names: new Set(), identities: new Set() };
  for (const [index, answer] of answers.entries()) {
    const { name: given, negate = false, color } = queries[index];
    const rows = yield* withExtremes(answer, points);
    const names = shortNames(
      rows.map(({ labels }) => labels),
      given ?? "value",
    );
    for (const [at, row] of rows.entries()) {
      const single = given && rows.length === 1;
      const name = single ? given : given ? `${names[at]} ${given}` : names[at];
      if (distinct && taken.names.has(name)) continue;
      const title = Object.keys(row.labels).length > 0 ? fullName(row.labels) : name;
      const identity = identityOf(row.labels, given ?? "", taken.identities);
      taken.names.add(name);
      taken.identities.add(identity);
      drawn.push({ ...row, name, title, identity, key: keyOf(`${index} ${title}`), color, negate });
      if (at % ROWS_A_STEP === ROWS_A_STEP - 1) yield;
    }
  }
  return drawn;
}

/** Who a series is, whatever was measured of it; with its metric only where that alone tells two apart. */
function identityOf(labels, given, taken) {
  const { __name__: metric = "", ...rest } = labels;
  if (Object.keys(rest).length === 0) return given || metric;
  const identity = `${fullName(rest)} ${given}`;
  return taken.has(identity) ? `${metric} ${identity}` : identity;
}

/** Points with what lies between them; a series that lived between two points only is there too. */
function* withExtremes({ data, low, high, mean }, points) {
  const { series: rows } = yield* tableInSteps(data, points);
  if (!low || !high) return rows.map((row) => ({ ...row, lows: null, highs: null, means: null }));
  const identity = (labels) => fullName({ ...labels, __name__: "" });
  const columns = [];
  for (const answer of [low, high, mean ?? NONE]) {
    const { series } = yield* tableInSteps(answer, points);
    columns.push(new Map(series.map((row) => [identity(row.labels), row])));
  }
  const [lows, highs, means] = columns;
  const empty = () => new Array(Math.round((points.end - points.start) / points.step) + 1).fill(null);
  const known = new Set(rows.map(({ labels }) => identity(labels)));
  const between = [...highs].filter(([key]) => !known.has(key)).map(([, { labels }]) => ({ labels, values: empty() }));
  return [...rows, ...between].map((row) => {
    const key = identity(row.labels);
    return {
      ...row,
      lows: lows.get(key)?.values ?? empty(),
      highs: highs.get(key)?.values ?? empty(),
      means: means.get(key)?.values ?? null,
    };
  });
}

const sameValues = (some, others) =>
  some === others ||
  (some?.length === others?.length &&
    some !== null &&
    others !== null &&
    some.every((value, at) => value === others[at]));

/** Whether two answers draw the same picture. */
export function isSame(series, others) {
  return (
    series.length === others.length &&
    series.every(
      (one, at) =>
        one.key === others[at].key &&
        ["values", "lows", "highs", "means"].every((column) => sameValues(one[column], others[at][column])),
    )
  );
}

const finite = (value) => (value !== null && Number.isFinite(value) ? value : null);
const mirrored = (value) => (value === null ? null : -value);

/**
 * What of a series can be drawn: finite values, below zero where it is negated. Where a step has samples but none at
 * its end, its point is its greatest.
 */
export function drawnOf({ values, lows, highs, negate }) {
  const turn = negate ? mirrored : (value) => value;
  const drawn = values.map((value, index) =>
    turn(finite(value) ?? (value === null && highs ? finite(highs[index]) : null)),
  );
  if (!lows || !highs) return { drawn, lows: null, highs: null };
  const [below, above] = negate ? [highs, lows] : [lows, highs];
  return { drawn, lows: below.map((value) => turn(finite(value))), highs: above.map((value) => turn(finite(value))) };
}

/** How many values cannot be drawn because they are infinite. */
export function infinities(series) {
  let count = 0;
  for (const { values } of series)
    for (const value of values) if (value === Infinity || value === -Infinity) count += 1;
  return count;
}

/** Whether a sum of these means something: finite parts that are not below zero, and no extremes. */
export function isStackable(series) {
  return series.every(
    ({ values, highs }) => !highs && values.every((value) => value === null || (value >= 0 && Number.isFinite(value))),
  );
}

const DRAWN_MAX = 100;

/** Of many shown series the greatest hundred: more lines than that are no drawing, and block the page. */
export function greatest(shown) {
  if (shown.length <= DRAWN_MAX) return shown;
  const size = ({ values, highs }) =>
    (highs ?? values).reduce((most, value) => (value === null ? most : Math.max(most, value)), -Infinity);
  const ranked = shown.map((one) => ({ one, most: size(one) })).sort((a, b) => b.most - a.most);
  const kept = new Set(ranked.slice(0, DRAWN_MAX).map(({ one }) => one));
  return shown.filter((one) => kept.has(one));
}
