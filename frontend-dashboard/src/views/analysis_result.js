/** What an analysis found, on a chart and as a list. */

import { withAlpha } from "../charts/options.js";
import { chartTheme } from "../charts/theme.js";
import { el } from "../dom.js";
import { Chart } from "../elements/chart.js";
import { dataTable } from "../elements/data_table.js";
import { emptyState } from "../elements/states.js";
import { shortTime } from "../format/time.js";
import { duration, format, unitOfQuery } from "../format/units.js";
import { anomalyColumns, resultNames } from "../state/jobs.js";

const EPISODES_CAP = 50;

/**
 * What an analysis found: the chart of one series and the list of episodes of all.
 * @param {{job: object, result: object, at: number}} shown `at`: the series of the chart
 * @param {{head: Node, pick: (index: number) => void, explore: (params: object) => void}} parts
 */
export function resultCards({ job, result, at }, { head, pick, explore }) {
  if (result.series.length === 0) {
    return el("section", { class: "card" }, head, emptyState("No series", "The query matched nothing in this range."));
  }
  const names = resultNames(result);
  const one = result.series[at];
  const theme = chartTheme();
  const columns = anomalyColumns(one, job.step_ms);
  const unit = unitOfQuery(job.query);
  const chart = new Chart();
  chart.classList.add("chart-large");
  chart.model = {
    times: columns.times,
    columns: [columns.upper, columns.lower, columns.expected, columns.values, columns.marked],
    lines: [
      { name: "expected at most", color: "transparent", width: 0 },
      { name: "expected at least", color: "transparent", width: 0 },
      { name: "expected", color: theme.axis, width: 1, dash: [4, 4] },
      { name: "value", color: theme.series[0], width: 1.5 },
      { name: "unusual", color: theme.bad, width: 3 },
    ],
    bands: [{ series: [1, 2], fill: withAlpha(theme.band, 0.22) }],
    regions: one.anomalies.map(({ start_ms: from, end_ms: to }) => ({ from: from / 1000, to: to / 1000 })),
    unit,
    span: [job.start_ms / 1000, job.end_ms / 1000],
    title: names[at],
  };
  chart.addEventListener("coh-range", ({ detail }) => {
    const params = { q: job.query, from: Math.round(detail.fromMs), to: Math.round(detail.toMs) };
    explore(params);
  });
  const showTable = () =>
    dataTable(
      {
        times: columns.times,
        series: [columns.values, columns.expected, columns.lower, columns.upper].map((values) => ({ values })),
      },
      { title: names[at], names: ["value", "expected", "expected at least", "expected at most"], unit, zone: "local" },
    );
  const picker =
    result.series.length > 1 &&
    el(
      "label",
      { class: "field inline" },
      el("span", {}, "Series"),
      el(
        "select",
        {
          class: "select",
          on: {
            change: (event) => pick(Number(event.target.value)),
          },
        },
        result.series.map((series, index) =>
          el(
            "option",
            { value: String(index), selected: index === at },
            `${names[index]}${series.anomalies.length > 0 ? ` (${series.anomalies.length})` : ""}`,
          ),
        ),
      ),
    );
  const { summary } = result;
  return [
    el(
      "section",
      { class: "card" },
      head,
      el(
        "div",
        { class: "result-facts" },
        fact(summary.anomalies, summary.anomalies === 1 ? "episode" : "episodes"),
        fact(summary.series, summary.series === 1 ? "series" : "series"),
        fact(summary.points, "points"),
        el(
          "button",
          { type: "button", class: "link", "aria-label": `${names[at]} as a table`, on: { click: showTable } },
          "Table",
        ),
        picker,
      ),
      chart,
      el(
        "div",
        { class: "chart-key" },
        keyItem("key-line", "value"),
        keyItem("key-dash", "expected"),
        keyItem("key-band", "expected band"),
        keyItem("key-bad", "unusual"),
      ),
    ),
    el(
      "section",
      { class: "card" },
      el("h2", { class: "section-title" }, "Episodes"),
      episodeTable(result, { names, unit, job, pick }),
    ),
  ];
}

function episodeTable(result, { names, unit, job, pick }) {
  const episodes = result.series
    .flatMap((series, index) => series.anomalies.map((anomaly) => ({ ...anomaly, index })))
    .sort((a, b) => b.peak_score - a.peak_score);
  if (episodes.length === 0) return el("p", { class: "quiet" }, "Nothing unusual in this range.");
  const many = result.series.length > 1;
  return el(
    "div",
    { class: "table-scroll" },
    el(
      "table",
      { class: "table" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          [many && "Series", "Began", "Lasted", "Peak", "Expected", "Score"]
            .filter(Boolean)
            .map((name) =>
              el("th", { scope: "col", class: ["Peak", "Expected", "Score"].includes(name) ? "number" : "" }, name),
            ),
        ),
      ),
      el(
        "tbody",
        {},
        episodes.slice(0, EPISODES_CAP).map((episode) =>
          el(
            "tr",
            {},
            many &&
              el(
                "td",
                {},
                el(
                  "button",
                  {
                    type: "button",
                    class: "link",
                    on: {
                      click: () => {
                        pick(episode.index);
                        scrollTo({ top: 0 });
                      },
                    },
                  },
                  names[episode.index],
                ),
              ),
            el("td", { class: "nowrap" }, shortTime(episode.start_ms)),
            el(
              "td",
              { class: "nowrap" },
              duration(Math.max(episode.end_ms - episode.start_ms, 0) / 1000 || job.step_ms / 1000),
            ),
            el(
              "td",
              { class: "number" },
              el(
                "span",
                {
                  class: "direction",
                  title: episode.direction === "up" ? "higher than expected" : "lower than expected",
                },
                episode.direction === "up" ? "▲ " : "▼ ",
              ),
              format(episode.peak_value, unit),
            ),
            el("td", { class: "number" }, format(episode.expected, unit)),
            el("td", { class: "number" }, format(episode.peak_score)),
          ),
        ),
      ),
    ),
    episodes.length > EPISODES_CAP &&
      el("p", { class: "quiet" }, `${episodes.length - EPISODES_CAP} weaker ones are not listed.`),
  );
}

/** The series with the highest score. */
export function loudest(result) {
  let best = 0;
  let peak = -1;
  result.series.forEach((series, index) => {
    const score = Math.max(0, ...series.anomalies.map((anomaly) => anomaly.peak_score));
    if (score > peak) [best, peak] = [index, score];
  });
  return best;
}

function fact(number, words) {
  return el("span", { class: "fact" }, el("strong", {}, format(number)), ` ${words}`);
}

function keyItem(name, words) {
  return el("span", { class: "key-item" }, el("span", { class: `key-mark ${name}` }), words);
}
