/** One series of a result: its chart with what was expected and found, the findings as a table, and its facts. */

import { isAbort } from "../api/client.js";
import { toTable } from "../api/matrix.js";
import { withAlpha } from "../charts/options.js";
import { chartTheme } from "../charts/theme.js";
import { el, fill } from "../dom.js";
import { Chart } from "../elements/chart.js";
import { dataTable, longTable, row } from "../elements/data_table.js";
import { swatchOf } from "../elements/swatch.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { shortTime } from "../format/time.js";
import { format, unitOfQuery } from "../format/units.js";
import { fullName } from "../state/query.js";
import { Refresher } from "../state/refresher.js";
import {
  columnsOf,
  EXPECTED,
  endOf,
  factsOf,
  lasted,
  pointsBefore,
  queryOf,
  usualOf,
  withPast,
} from "../state/results.js";
import { themeEvents } from "../state/theme.js";
import { formatHash } from "../state/url.js";
import { card } from "./settings/section.js";

const NAMES = {
  values: "value",
  upper: "expected at most",
  lower: "expected at least",
  upper_80: "at most, 4 of 5 times",
  lower_80: "at least, 4 of 5 times",
};
const EDGES = new Set(["upper", "lower", "upper_80", "lower_80"]);
const KEYED = new Set([...EDGES, "values", "expected", "unusual"]);

/** The card of one series, asked for with its columns when it is chosen. */
export function chosenSeries(app, job, ask, signal) {
  const body = el("div");
  const part = { card: card(body), show, shown: () => key !== null };
  let key = null;
  let answer = null; // {axis, one}
  const loader = new Refresher(
    async (ended) => {
      const { axis, series } = await ask({ series: key, columns: true }, ended);
      const one = series.find(({ labels }) => fullName(labels) === key) ?? series[0];
      const values = one && (await past(app, job, axis, one, ended));
      return () => {
        answer = one ? (values ? withPast(axis, one, values) : { axis, one }) : null;
        draw();
      };
    },
    (error) => fill(body, failedState(error, { retry: () => loader.restart() })),
  );
  part.card.hidden = true;
  signal.addEventListener("abort", () => loader.stop());
  themeEvents.addEventListener("change", () => answer && draw(), { signal });

  function show(wanted, { byHand = false } = {}) {
    key = wanted;
    part.card.hidden = key === "";
    if (key === "") return;
    if (answer === null) fill(body, loadingState());
    loader.restart();
    if (!byHand) return;
    app.setParams({ series: key });
    part.card.scrollIntoView({ block: "nearest" });
  }

  function draw() {
    if (answer === null) {
      fill(body, emptyState("No such series in this result"));
      return;
    }
    const { axis, one } = answer;
    const unit = unitOfQuery(one.facts.taken_as === "rate" ? `rate(${job.query})` : job.query);
    const query = one.labels.__name__ ? queryOf(job.query, one, job.step_ms / 1000) : job.query;
    fill(
      body,
      el(
        "div",
        { class: "result-head" },
        el("h2", { class: "section-title wrap" }, fullName(one.labels)),
        !one.note && el("span", { class: "fact" }, "score ", el("strong", {}, format(one.score))),
      ),
      one.note && el("p", { class: "quiet" }, one.note),
      one.columns &&
        Object.keys(one.columns).length > 0 &&
        chartParts(app, query, unit, axis, one, EXPECTED[job.kind] ?? "expected"),
      one.findings.length > 0 && findingsTable(one.findings, query, unit, job.step_ms),
      Object.keys(one.facts).length > 0 && factList(factsOf(one.facts)),
    );
  }
  return part;
}

/** What was observed before a forecast; null where there is nothing to show or das cannot tell. */
async function past(app, job, axis, one, signal) {
  const points = pointsBefore(axis, job);
  if (points === null || one.note) return null;
  try {
    const { data } = await app.prometheus.queryRange(queryOf(job.query, one, points.step), points, signal);
    return toTable(data, points).series[0]?.values ?? null;
  } catch (error) {
    if (isAbort(error)) throw error;
    return null;
  }
}

function chartParts(app, query, unit, axis, one, expected) {
  const { times, columns } = columnsOf(axis, one);
  const names = Object.keys(columns);
  const theme = chartTheme();
  const edges = ["", "_80"].filter((end) => columns[`upper${end}`] && columns[`lower${end}`]);
  let more = 0;
  const styleOf = (name) => {
    if (EDGES.has(name)) return { color: "transparent", width: 0 };
    if (name === "expected") return { color: theme.axis, width: edges.length > 0 ? 1 : 1.5, dash: [4, 4] };
    if (name === "unusual") return { color: theme.bad, width: 3 };
    if (name === "values") return { color: theme.series[0], width: 1.5 };
    more += 1;
    return { color: theme.series[more % theme.series.length], width: 1.5 };
  };
  const lines = names.map((name) => ({
    name: { ...NAMES, expected }[name] ?? name.replaceAll("_", " "),
    ...styleOf(name),
  }));
  const at = (name) => names.indexOf(name) + 1;
  const chart = new Chart();
  chart.classList.add("chart-large");
  chart.model = {
    times,
    columns: Object.values(columns),
    lines,
    bands: edges.map((end) => ({ series: [at(`upper${end}`), at(`lower${end}`)], fill: withAlpha(theme.band, 0.22) })),
    regions: one.findings.map((finding) => ({
      from: finding.start_ms / 1000,
      to: Math.min(endOf(finding) / 1000, times.at(-1)),
      name: finding.kind.replaceAll("_", " "),
      text: finding.text,
    })),
    // of a band that is judged as time goes on, the first of it is wide
    ...(one.columns.score && { inView: names.map((name) => (EDGES.has(name) ? usualOf : Array.from)(columns[name])) }),
    unit,
    span: [times[0], times.at(-1)],
    title: fullName(one.labels),
  };
  chart.addEventListener("coh-range", ({ detail: { fromMs, toMs } }) =>
    app.go(exploreHash(query, Math.round(fromMs), Math.round(toMs))),
  );
  const shown = names.filter((name) => name !== "unusual");
  const showTable = () =>
    dataTable(
      { times, series: shown.map((name) => ({ values: columns[name] })) },
      { title: fullName(one.labels), names: shown.map((name) => lines[at(name) - 1].name), unit, zone: "local" },
    );
  const key = (name, words) => el("span", { class: "key-item" }, el("span", { class: `key-mark ${name}` }), words);
  return [
    chart,
    el(
      "div",
      { class: "chart-key" },
      columns.values && key("key-line", "value"),
      columns.expected && key("key-dash", expected),
      edges.length > 0 && key("key-band", edges.length > 1 ? "19 of 20 times; inner band: 4 of 5" : "expected band"),
      lines
        .filter((_, n) => !KEYED.has(names[n]))
        .map((line) => el("span", { class: "key-item" }, swatchOf(line), line.name)),
      one.findings.length > 0 && key("key-bad", "unusual"),
      el("button", { class: "link", "aria-label": "This chart as a table", on: { click: showTable } }, "Table"),
    ),
  ];
}

function findingsTable(findings, query, unit, stepMs) {
  const arrow = { up: "▲ ", down: "▼ " };
  return longTable(
    ["Kind", "Began", "Lasted", "What", "Value", "Expected"],
    findings.map((finding) =>
      row(
        el("span", { class: "tag" }, finding.kind.replaceAll("_", " ")),
        ["nowrap", exploreLink(query, finding, stepMs)],
        ["nowrap", lasted(finding, stepMs)],
        ["wrap", finding.text],
        [
          "number",
          el("span", {}, el("span", { class: "direction" }, arrow[finding.direction]), format(finding.value, unit)),
        ],
        ["number", format(finding.expected, unit)],
      ),
    ),
  );
}

function exploreLink(query, { start_ms: fromMs, end_ms: toMs }, stepMs) {
  const room = Math.max((toMs ?? fromMs) - fromMs, 20 * stepMs);
  return el("a", { href: exploreHash(query, fromMs - room, (toMs ?? fromMs) + room) }, shortTime(fromMs));
}

/** Explore, at this query and time. */
export function exploreHash(q, from, to) {
  return formatHash({ path: ["explore"], params: { q, from, to } });
}

/** Facts with their names. */
export function factList(facts) {
  return el(
    "dl",
    { class: "facts-list" },
    facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))),
  );
}
