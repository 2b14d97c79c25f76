/** The choices of Explore: a metric, filters by label, and what it is broken down by. */

import { el, icon } from "../dom.js";
import { combobox } from "../elements/combobox.js";
import { OPERATORS, kindOf, selector } from "../state/query.js";

/**
 * The controls of the present choice. One's answer may come late (its list was on its way): it counts unless a newer
 * choice was made meanwhile.
 * @param {object} parts
 * @param {() => {metric: string, filters: import("../state/query.js").Filter[], by: string}} parts.current
 * @param {import("../api/prometheus.js").Prometheus} parts.prometheus
 * @param {() => import("../state/time_range.js").Span} parts.span whose names and values are offered
 * @param {(metric: string) => string} parts.typeOf
 * @param {(changes: object) => void} parts.choose
 * @param {() => void} parts.addFilter
 * @param {(index: number, change: object) => void} parts.setFilter
 */
export function builderControls({ current, prometheus, span, typeOf, choose, addFilter, setFilter }) {
  const { metric, filters, by } = current();
  const within = () => {
    const { fromMs, toMs } = span();
    return { start: fromMs / 1000, end: toMs / 1000 };
  };
  const without = (skipped) =>
    selector(
      metric,
      filters.filter((filter, index) => index !== skipped && filter.label && filter.value !== ""),
    );
  const matching = (skipped) => {
    const text = without(skipped);
    return text === "{}" ? undefined : text;
  };
  return [
    combobox({
      label: "Metric",
      placeholder: "Search metrics…",
      value: metric,
      className: "combo-metric",
      primary: true,
      load: () => prometheus.labelValues("__name__", within()),
      describe: (name) => typeOf(name) || (kindOf(name) === "counter" ? "counter" : ""),
      choose: (name) => {
        if (current().metric === metric) choose(name === metric ? {} : { metric: name, by: "", filters: [] });
      },
    }),
    filters.map((filter, index) =>
      el(
        "div",
        { class: "filter-chip" },
        combobox({
          label: "Label",
          placeholder: "label",
          value: filter.label,
          free: true,
          className: "combo-label",
          load: async () =>
            (await prometheus.labels({ match: matching(index), ...within() })).filter((name) => name !== "__name__"),
          choose: (label) => setFilter(index, { label, value: "" }),
        }),
        el(
          "select",
          {
            class: "select op",
            "aria-label": "Operator",
            on: { change: (event) => setFilter(index, { op: event.target.value }) },
          },
          OPERATORS.map((op) => el("option", { value: op, selected: op === filter.op }, op)),
        ),
        combobox({
          label: "Value",
          placeholder: "value",
          value: filter.value,
          free: true,
          className: "combo-value",
          load: () =>
            filter.label
              ? prometheus.labelValues(filter.label, { match: matching(index), ...within() })
              : Promise.resolve([]),
          choose: (value) => setFilter(index, { value }),
        }),
        el(
          "button",
          {
            class: "button icon-only plain",
            "aria-label": "Remove the filter",
            on: { click: () => choose({ filters: filters.filter((_, at) => at !== index) }) },
          },
          icon("close"),
        ),
      ),
    ),
    (metric || filters.length > 0) &&
      el("button", { class: "button plain", on: { click: () => addFilter() } }, icon("add"), "Filter"),
    metric &&
      el(
        "div",
        { class: "by" },
        el("span", {}, "by"),
        combobox({
          label: "Break down by",
          placeholder: "nothing",
          value: by,
          className: "combo-label",
          load: async () =>
            (await prometheus.labels({ match: matching(-1), ...within() })).filter(
              (name) => name !== "__name__" && name !== "le",
            ),
          choose: (label) => {
            if (current().metric === metric && current().by === by) choose({ by: label });
          },
        }),
      ),
  ];
}
