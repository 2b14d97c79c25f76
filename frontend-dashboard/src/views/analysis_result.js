/**
 * What an analysis says: a sentence, the tables of its kind, the series by score a page at a time, and the chart of the
 * one that is chosen. Never the whole result: only downloads have that.
 */

import { isAbort } from "../api/client.js";
import { download, el, fill, rescueFocus } from "../dom.js";
import { addRows, longTable, row, table } from "../elements/data_table.js";
import { menu } from "../elements/popover.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { format } from "../format/units.js";
import { fullName, shortNames } from "../state/query.js";
import { Refresher } from "../state/refresher.js";
import { factsOf, judgedWords, kindsOf, sectionsOf } from "../state/results.js";
import { chosenSeries, factList } from "./analysis_series.js";
import { card } from "./settings/section.js";

const PAGE = 25;
const FILES = [
  ["application/vnd.apache.arrow.stream", "Arrow"],
  ["application/vnd.apache.parquet", "Parquet"],
  ["text/csv", "CSV"],
];
/**
 * The cards of a finished job's result, which load themselves.
 * @param {import("../app.js").App} app
 * @param {object} job
 * @param {Node} head of the first card
 * @param {AbortSignal} signal ends all of it
 */
export function resultCards(app, job, head, signal) {
  const path = `/api/v1/jobs/${encodeURIComponent(job.id)}/result`;
  const ask = (params, ended) => app.client.service("aps", path, { params, signal: ended });
  const top = el("div", {}, loadingState());
  const tables = el("div", { class: "result-tables" });
  const ranked = el("div");
  const chosen = chosenSeries(app, job, ask, signal);
  const onlyFindings = el("input", {
    type: "checkbox",
    checked: app.route.params.only === "findings",
    on: {
      change: () => {
        app.setParams({ only: onlyFindings.checked ? "findings" : "" });
        list.restart();
      },
    },
  });
  const page = (cursor, ended) =>
    ask({ limit: PAGE, columns: false, only: onlyFindings.checked ? "findings" : "", cursor }, ended);
  const list = new Refresher(
    async (ended) => {
      const result = await page("", ended);
      return () => {
        fill(top, summaryOf(app, result.summary, path));
        fill(tables, sectionsOf(result.summary).map(sectionCard));
        fill(ranked, rankedTable(app, result, { page: (cursor) => page(cursor, signal), choose: chosen.show }));
        if (!chosen.shown()) chosen.show(app.route.params.series || keyOf(result.series[0]));
        rescueFocus();
      };
    },
    (error) => fill(top, failedState(error, { retry: () => list.restart() })),
  );
  list.restart();
  signal.addEventListener("abort", () => list.stop());
  return [
    card(head, top),
    tables,
    chosen.card,
    card(
      el(
        "div",
        { class: "result-head" },
        el("h2", { class: "section-title" }, "Series"),
        el("label", { class: "check" }, onlyFindings, "with findings only"),
      ),
      ranked,
    ),
  ];
}

/** What names a series in the URL and to aps. */
function keyOf(series) {
  return series ? fullName(series.labels) : "";
}

function summaryOf(app, summary, path) {
  const [judged, ...notes] = judgedWords(summary);
  const [sentence, ...more] = (summary.sentence ?? "").split(/(?<=\.) /);
  const fact = (number, words) => el("span", { class: "fact" }, el("strong", {}, format(number)), ` ${words}`);
  const save = async (type, name) => {
    app.toast(`${name} is being fetched`);
    try {
      download(`analysis.${name.toLowerCase()}`, await app.client.file("aps", path, type), type);
    } catch (error) {
      app.toast(error.message, { bad: true });
    }
  };
  const files = menu(el("button", { class: "button small" }, "Download"), "Download the whole result", FILES, save);
  return [
    el("p", { class: "result-sentence" }, sentence),
    more.length > 0 && el("p", {}, more.join(" ")),
    el(
      "div",
      { class: "result-facts" },
      fact(summary.findings ?? 0, summary.findings === 1 ? "finding" : "findings"),
      el("span", { class: "fact" }, judged),
      summary.points !== undefined && fact(summary.points, "points"),
      files,
    ),
    notes.length > 0 &&
      el(
        "ul",
        { class: "result-notes quiet" },
        notes.map((note) => el("li", {}, note)),
      ),
  ];
}

/** A table or a list of facts of the kind. */
function sectionCard({ title, facts, heads, isNumber, rows }) {
  const cells = (texts) => row(...texts.map((text, at) => [isNumber[at] ? "number" : "wrap", text]));
  return card(el("h2", { class: "section-title" }, title), facts ? factList(facts) : longTable(heads, rows.map(cells)));
}

/** The series by score; a button adds the next page of them. */
function rankedTable(app, result, { page, choose }) {
  if (result.series.length === 0)
    return emptyState(
      "No series",
      app.route.params.only ? "None has findings." : "The query matched nothing in this range.",
    );
  const rowsOf = ({ series }) => {
    const names = shortNames(series.map(({ labels }) => labels));
    return series.map((one, at) =>
      row(
        ["wrap", link(names[at], () => choose(keyOf(one), { byHand: true }), fullName(one.labels))],
        ["number", one.note ? "" : format(one.score)],
        ["wrap", one.note ? el("span", { class: "quiet" }, one.note) : findingsCell(one)],
      ),
    );
  };
  const shown = table(["Series", "Score", "Findings"], rowsOf(result));
  let { next } = result;
  const more = el("button", { class: "button", on: { click: add } }, "Show more");
  async function add() {
    more.disabled = true;
    try {
      const later = await page(next);
      addRows(shown, rowsOf(later));
      next = later.next;
      if (!next) more.remove();
    } catch (error) {
      if (!isAbort(error)) app.toast(error.message, { bad: true });
    }
    more.disabled = false;
    if (more.isConnected) more.focus();
    else rescueFocus();
  }
  return [shown, next && more];
}

function findingsCell({ findings, facts }) {
  if (findings.length === 0)
    return el(
      "span",
      { class: "quiet" },
      factsOf(facts)
        .slice(0, 3)
        .map(([name, text]) => `${name.toLowerCase()} ${text}`)
        .join(" · "),
    );
  const tags = kindsOf(findings).map((words) => el("span", { class: "tag" }, words));
  return el("div", { class: "tags" }, tags, findings[0].text);
}

function link(words, act, title = "") {
  return el("button", { class: "link", title, on: { click: act } }, words);
}
