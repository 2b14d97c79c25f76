/**
 * Which moments a query is evaluated at, and over which windows. Pure: `nowMs` comes in.
 *
 * A step depends on the span alone, never on a width: tile, chart and table then ask the same question at the same
 * moments and give one answer.
 *
 * @typedef {import("./time_range.js").Span} Span
 * @typedef {{start: number, end: number, step: number}} Grid  seconds; both ends inclusive, whole steps
 */

const NICE_STEPS_S = [
  1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
];
const POINTS_WANTED = 360; // one for two pixels of a panel; das gives 11,000 at most
const STEP_MIN_S = 5; // how often the hub scrapes by itself
const SETTLE_MS = 5_000; // an agent sends its samples this long after it took them (remote_write's batch deadline)

/** Seconds between points: a nice number; a second only where the span is as short as that. */
export function stepFor({ fromMs, toMs }) {
  const seconds = (toMs - fromMs) / 1000;
  const wanted = Math.max(seconds / POINTS_WANTED, Math.min(STEP_MIN_S, seconds / 20));
  return NICE_STEPS_S.find((step) => step >= wanted) ?? Math.ceil(wanted / 86_400) * 86_400;
}

/**
 * The evaluation grid: whole steps inside of the span, so that points stay where they are as time goes on. It ends
 * before samples of the newest seconds are still on their way: a rate there would read low.
 * @returns {Grid}
 */
export function grid({ fromMs, toMs }, stepS, nowMs) {
  const end = Math.floor(Math.min(toMs, nowMs - SETTLE_MS) / 1000 / stepS) * stepS;
  return { start: Math.min(Math.ceil(fromMs / 1000 / stepS) * stepS, end), end, step: stepS };
}

/** A PromQL duration of whole seconds. */
export function promDuration(seconds) {
  return `${Math.max(1, Math.round(seconds))}s`;
}

/**
 * The query with Grafana's variables replaced: `$__interval` is the step, `$__rate_interval` at least four scrapes,
 * so that a rate has samples even where one was missed, `$__range` the whole span. `$__rate_interval_s` is its number.
 */
export function interpolate(query, span, stepS, scrapeS = 15) {
  const rateS = Math.max(stepS + scrapeS, 4 * scrapeS);
  return query
    .replaceAll("$__rate_interval_s", String(Math.round(rateS)))
    .replaceAll(/\$__rate_interval|\$\{__rate_interval\}/g, promDuration(rateS))
    .replaceAll(/\$__interval|\$\{__interval\}/g, promDuration(stepS))
    .replaceAll(/\$__range|\$\{__range\}/g, promDuration((span.toMs - span.fromMs) / 1000));
}

const BRACES = "\\{(?:[^{}\"'`]|\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`)*\\}";
/** A series selector, as the source of a regular expression. */
export const SELECTOR = `(?:[a-zA-Z_:][\\w:]*\\s*(?:${BRACES})?|${BRACES})`;
/** A query that is a selector and nothing else. */
export const PLAIN = new RegExp(`^\\s*${SELECTOR}\\s*$`);
const LOOKS_A_STEP = 60; // bounds what one point of an expression costs

/**
 * PromQL of the least, greatest and mean value within each step, where a step is longer than a scrape: a point alone
 * would miss what lies between two of them. A selector is read sample by sample, an expression is looked at every
 * `looksS` seconds, over windows that leave nothing out.
 * @returns {{low: string, high: string, mean: string, looksS: number}|null} null: every sample is a point already
 */
export function extremes(query, span, stepS, scrapeS = 15) {
  if (stepS <= scrapeS) return null;
  const plain = PLAIN.test(query);
  const looksS = plain ? 0 : Math.ceil(Math.max(scrapeS, stepS / LOOKS_A_STEP));
  const window = plain
    ? `${query.trim()}[${promDuration(stepS)}]`
    : `(${interpolate(query, span, looksS, scrapeS)})[${promDuration(stepS)}:${promDuration(looksS)}]`;
  const over = (name) => `${name}_over_time(${window})`;
  return { low: over("min"), high: over("max"), mean: over("avg"), looksS };
}

/** What is asked for `query` over `span`: its text as das reads it, the grid, and what lies between its points. */
export function plan(query, span, nowMs, scrapeS = 15) {
  const step = stepFor(span);
  return {
    query: interpolate(query, span, step, scrapeS),
    points: grid(span, step, nowMs),
    extremes: extremes(query, span, step, scrapeS),
  };
}
