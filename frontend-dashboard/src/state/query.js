/**
 * Building PromQL from choices (metric, filters, break-down) and naming what comes back. Pure.
 *
 * @typedef {{label: string, op: "="|"!="|"=~"|"!~", value: string}} Filter
 */

const LEGACY_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
export const OPERATORS = ["=", "!=", "=~", "!~"];

/** A PromQL string literal. */
export function quote(text) {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

function labelName(name) {
  return LEGACY_LABEL.test(name) ? name : quote(name);
}

/** `name{label="value"}`; a name outside the classic alphabet goes between the braces, quoted. */
export function selector(metric, filters = []) {
  const matchers = filters
    .filter((filter) => filter.label)
    .map((filter) => `${labelName(filter.label)}${filter.op}${quote(filter.value)}`);
  if (metric && !LEGACY_NAME.test(metric)) matchers.unshift(quote(metric));
  const name = metric && LEGACY_NAME.test(metric) ? metric : "";
  return matchers.length > 0 || !name ? `${name}{${matchers.join(",")}}` : name;
}

/** counter, gauge, histogram…: what metadata says, else what the name's suffix means. */
export function kindOf(metric, type = "") {
  if (metric.endsWith("_bucket")) return "histogram";
  if (type === "counter" || type === "gauge") return type;
  return /_(?:total|sum|count)$/.test(metric) ? "counter" : "gauge";
}

/**
 * The query one would write for this metric: counters as rates, histograms as a 95th percentile, gauges as they are.
 * @param {{metric: string, type?: string, filters?: Filter[], by?: string}} choice
 */
export function buildQuery({ metric, type = "", filters = [], by = "" }) {
  const chosen = selector(metric, filters);
  switch (kindOf(metric, type)) {
    case "histogram": {
      const labels = by ? `le, ${labelName(by)}` : "le";
      return `histogram_quantile(0.95, sum by (${labels}) (rate(${chosen}[$__rate_interval])))`;
    }
    case "counter":
      return by ? `sum by (${labelName(by)}) (rate(${chosen}[$__rate_interval]))` : `rate(${chosen}[$__rate_interval])`;
    default:
      return by ? `avg by (${labelName(by)}) (${chosen})` : chosen;
  }
}

/** Filters as one URL parameter and back: JSON triples survive any label value. */
export function packFilters(filters) {
  return filters.length === 0 ? "" : JSON.stringify(filters.map(({ label, op, value }) => [label, op, value]));
}

/** @returns {Filter[]} what cannot be read is left out */
export function unpackFilters(text) {
  try {
    return JSON.parse(text || "[]")
      .filter((triple) => Array.isArray(triple) && triple.length === 3 && OPERATORS.includes(triple[1]))
      .map(([label, op, value]) => ({ label: String(label), op, value: String(value) }));
  } catch {
    return [];
  }
}

/** The labels in which the series of one answer differ: what a legend has to say. */
export function varyingLabels(labelSets) {
  const values = new Map();
  for (const labels of labelSets) {
    for (const name of Object.keys(labels)) values.set(name, new Set());
  }
  for (const labels of labelSets) {
    for (const [name, seen] of values) seen.add(labels[name] ?? "");
  }
  return [...values]
    .filter(([, seen]) => seen.size > 1)
    .map(([name]) => name)
    .sort();
}

/** The full name, as PromQL would print it. */
export function fullName(labels) {
  const { __name__: name = "", ...rest } = labels;
  const inner = Object.keys(rest)
    .sort()
    .map((key) => `${labelName(key)}=${quote(rest[key])}`)
    .join(", ");
  return inner ? `${name}{${inner}}` : name || "{}";
}

/** One short name a series: the value alone where one label differs, `a=1 b=2` where several do. */
export function shortNames(labelSets, fallback = "value") {
  const varying = varyingLabels(labelSets);
  return labelSets.map((labels) => {
    if (varying.length === 0) return labels.__name__ ?? (Object.keys(labels).length > 0 ? fullName(labels) : fallback);
    const present = varying.filter((name) => labels[name] !== undefined);
    if (varying.length === 1) return present.length > 0 ? labels[varying[0]] : "(none)";
    return (
      present.map((name) => (name === "__name__" ? labels[name] : `${name}=${labels[name]}`)).join(" ") || "(none)"
    );
  });
}

/** The place an error message points at in its query, as an offset into `query`; null when it names none. */
export function errorOffset(message, query) {
  const lineColumn = /\b(\d+):(\d+):/.exec(message);
  if (lineColumn) {
    const lines = query.split("\n");
    const line = Number(lineColumn[1]) - 1;
    if (line < lines.length) {
      const before = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
      return Math.min(before + Math.max(Number(lineColumn[2]) - 1, 0), query.length);
    }
  }
  const offset = /\b(?:char(?:acter)?|offset|position|pos)[ =:]+(\d+)/i.exec(message);
  return offset ? Math.min(Number(offset[1]), query.length) : null;
}
