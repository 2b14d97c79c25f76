/** What an analysis says, as the page tells it: columns of a chart, words and tables of a summary. Pure. */

import { shortTime } from "../format/time.js";
import { duration, format } from "../format/units.js";
import { fullName, quote } from "./query.js";

const BELOW = ["upper", "lower", "upper_80", "lower_80", "expected"]; // drawn first, in this order
const NOT_DRAWN = new Set(["score", ...BELOW, "values"]);
const ALWAYS = new Set([
  "series",
  "judged",
  "points",
  "findings",
  "notes",
  "sentence",
  "ranked",
  "changed",
  "outliers",
  "methods",
]);
const TITLES = {
  changes: "What changed",
  causes: "What may have caused it",
  companions: "What changed shortly before",
  soonest: "Soonest to be full",
  groups: "By group",
  related: "What moves with it",
  times: "When most moved",
  mase: "Error in the backtest (MASE)",
  mase_naive: "Error of the naive forecast",
  backed_off: "Limits raised, times",
};
const EPOCH_MS_MIN = 1e11; // a shorter `_ms` is a length of time

/** `time_to_full_s` → `Time to full`. */
export function wordsOf(name) {
  const words = name.replace(/_(?:ms|s)$/, "").replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What `expected` is; of other kinds just that. */
export const EXPECTED = { slo: "objective", group_outliers: "middle of the group", change_points: "level" };

/** Where a finding ends on a chart: a change is a moment, what else lasts goes on. */
export function endOf({ kind, start_ms: startMs, end_ms: endMs }) {
  return endMs ?? (kind === "change" ? startMs : Infinity);
}

/**
 * One series of a result as chart columns, those below first. Gaps and what is no number stay null; `unusual` has the
 * values inside of findings alone.
 * @param {{start_ms: number, step_ms: number, steps: number}} axis
 * @returns {{times: number[], columns: Record<string, (number|null)[]>}} times in seconds
 */
export function columnsOf({ start_ms: startMs, step_ms: stepMs, steps }, { columns, findings }) {
  const numbers = (name) =>
    columns[name].map((value) => (typeof value === "number" && Number.isFinite(value) ? value : null));
  const others = Object.keys(columns).filter((name) => !NOT_DRAWN.has(name));
  const names = [...BELOW, ...others, "values"].filter((name) => columns[name]);
  const drawn = Object.fromEntries(names.map((name) => [name, numbers(name)]));
  if (drawn.values) {
    drawn.unusual = drawn.values.map(() => null);
    for (const finding of findings) {
      const last = Math.min(steps - 1, Math.floor((endOf(finding) - startMs) / stepMs));
      for (let at = Math.max(0, Math.ceil((finding.start_ms - startMs) / stepMs)); at <= last; at += 1)
        drawn.unusual[at] = drawn.values[at];
    }
  }
  return { times: Array.from({ length: steps }, (_, at) => (startMs + at * stepMs) / 1000), columns: drawn };
}

/** All but the outermost of these: a band that was wide while little was known must not flatten a chart. */
export function usualOf(values) {
  const numbers = values.filter((value) => value !== null).sort((a, b) => a - b);
  const outer = Math.floor(numbers.length / 20);
  return numbers.slice(outer, numbers.length - outer);
}

const PAST_MAX = 1000;

/** The points before a result whose axis lies ahead of its job's range: twice its length; null for any other. */
export function pointsBefore({ start_ms: startMs, step_ms: stepMs, steps }, job) {
  if (startMs < job.end_ms) return null;
  const count = Math.min(2 * steps, PAST_MAX, Math.floor((startMs - job.start_ms) / stepMs));
  const step = stepMs / 1000;
  return count < 1 ? null : { start: startMs / 1000 - count * step, end: startMs / 1000 - step, step };
}

/** PromQL of this one series of a query's. */
export function queryOf(query, { labels, facts }, stepS) {
  const series = fullName(labels);
  if (labels.__name__) return facts.taken_as === "rate" ? `rate(${series}[${2 * stepS}s])` : series;
  const names = Object.keys(labels);
  const one = names.reduce(
    (vector, name) =>
      `label_replace(${vector}, ${quote(name)}, ${quote(labels[name].replaceAll("$", "$$$$"))}, "", "")`,
    "vector(1)",
  );
  return names.length > 0 ? `(${query}) and on (${names.join(", ")}) ${one}` : query;
}

/** A result that begins with what was observed before it. */
export function withPast(axis, series, values) {
  const gap = values.map(() => null);
  const ahead = Object.fromEntries(Object.entries(series.columns).map(([name, column]) => [name, [...gap, ...column]]));
  const none = Array.from({ length: axis.steps }, () => null);
  return {
    axis: { ...axis, start_ms: axis.start_ms - values.length * axis.step_ms, steps: values.length + axis.steps },
    one: { ...series, columns: { ...ahead, values: [...values, ...none] } },
  };
}

function isLabels(value) {
  return Object.values(value).every((one) => typeof one === "string");
}

/** A fact in words; its name tells what a number of it counts. */
export function textOf(name, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value))
    return value.map((one) => textOf(name, one)).join(typeof value[0] === "object" ? "; " : ", ");
  if (typeof value === "object")
    return isLabels(value)
      ? fullName(value)
      : Object.entries(value)
          .map(([inner, one]) => `${inner === "labels" ? "" : `${wordsOf(inner).toLowerCase()} `}${textOf(inner, one)}`)
          .join(", ");
  if (typeof value !== "number") return String(value);
  if (name.endsWith("_ms")) return value >= EPOCH_MS_MIN ? shortTime(value) : duration(value / 1000);
  if (name.endsWith("_s")) return duration(value);
  if (name === "chance" && value < 0.001) return "< 0.001";
  return format(value, /(?:^|_)(?:ratio|share|fraction|good|left)$/.test(name) ? "ratio" : "none");
}

/** The scalars of an object in words. */
export function factsOf(facts) {
  return Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [TITLES[name] ?? wordsOf(name), textOf(name, value)]);
}

/**
 * What a summary holds beside what every one has: a list of objects is a table (labels first, no empty column), an
 * object is a list of facts, and what stands alone is a fact of all.
 * @returns {{title: string, facts?: string[][], heads?: string[], isNumber?: boolean[], rows?: string[][]}[]}
 */
export function sectionsOf(summary) {
  const alone = {};
  const sections = [];
  for (const [name, value] of Object.entries(summary)) {
    if (ALWAYS.has(name) || value === null || textOf(name, value) === "{}") continue;
    const title = TITLES[name] ?? wordsOf(name);
    if (Array.isArray(value) && typeof value[0] === "object") {
      const names = new Set(["labels", ...value.flatMap((one) => Object.keys(one))]);
      const keys = [...names].filter((key) => value.some((one) => (one[key] ?? null) !== null));
      sections.push({
        title,
        heads: keys.map(wordsOf),
        isNumber: keys.map((key) => value.every((one) => typeof (one[key] ?? 0) === "number")),
        rows: value.map((one) => keys.map((key) => textOf(key, one[key]))),
      });
    } else if (typeof value === "object" && !Array.isArray(value) && !isLabels(value)) {
      const { [true]: tables = [], [false]: facts = [] } = Object.groupBy(
        Object.entries(value),
        ([, one]) => Array.isArray(one) && typeof one[0] === "object",
      );
      sections.push({ title, facts: factsOf(Object.fromEntries(facts)) }, ...sectionsOf(Object.fromEntries(tables)));
    } else if (!Array.isArray(value) || value.length > 0) alone[name] = value;
  }
  return Object.keys(alone).length > 0 ? [{ title: "Facts", facts: factsOf(alone) }, ...sections] : sections;
}

/** `37 of 40 series were judged`, and why the others were not. */
export function judgedWords({ series, judged = series, notes = [] }) {
  return [`${judged} of ${series} series judged`, ...notes.map(({ note, series: count }) => `${count}: ${note}`)];
}

/** The kinds of these findings with how often, most often first: `shift × 2, spike`. */
export function kindsOf(findings) {
  const counts = new Map();
  for (const { kind } of findings) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${kind.replaceAll("_", " ")}${count > 1 ? ` × ${count}` : ""}`);
}

/** How long it lasted, or that it lasts; a change is a moment. */
export function lasted({ kind, start_ms: fromMs, end_ms: toMs }, stepMs = 0) {
  if (kind === "change") return "";
  return toMs === null ? "lasts" : duration(Math.max(toMs - fromMs, stepMs) / 1000);
}

/**
 * What was typed for a parameter, as aps takes it; undefined leaves it at its default.
 * @param {{type: string}} parameter
 * @param {string} text
 */
export function parameterOf({ type }, text) {
  const typed = text.trim();
  if (typed === "") return { text: "", labels: [] }[type];
  switch (type) {
    case "number":
    case "integer":
      return Number(typed);
    case "time":
      return Date.parse(typed); // without a zone: the browser's
    case "labels":
      return typed.split(/[\s,]+/).filter(Boolean);
    default:
      return typed;
  }
}
