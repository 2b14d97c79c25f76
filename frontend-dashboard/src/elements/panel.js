/**
 * `<coh-panel>`: one titled chart with its queries. It asks only while it can be seen, gives up an old request when a
 * new one starts, keeps what it shows while it refreshes, and fails alone.
 */

import { isAbort } from "../api/client.js";
import { stack, timesOf } from "../api/matrix.js";
import { withAlpha } from "../charts/options.js";
import { chartTheme, seriesStyles } from "../charts/theme.js";
import { el, fill } from "../dom.js";
import { clockTime } from "../format/time.js";
import { duration, unitOfQuery } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { Refresher } from "../state/refresher.js";
import { drawnOf, greatest, infinities, isSame, isStackable, seriesInSteps } from "../state/series.js";
import { inSteps } from "../state/steps.js";
import { themeEvents } from "../state/theme.js";
import { isolate, toggle } from "../state/visibility.js";
import { Chart } from "./chart.js";
import { Legend } from "./legend.js";
import { dataTable } from "./data_table.js";
import { whileSeen } from "./seen.js";
import { emptyState, failedState, loadingState } from "./states.js";

/**
 * @typedef {object} Query
 * @property {string} query PromQL; `$__rate_interval`, `$__interval`, `$__range` are replaced
 * @property {string} [name] name of its one series, or prefix where it has several
 * @property {boolean} [negate] drawn below zero (sent under received)
 * @property {string} [color]
 *
 * @typedef {object} PanelSpec
 * @property {string} title
 * @property {string} [hint]
 * @property {Query[]} queries
 * @property {import("../format/units.js").Unit} [unit]
 * @property {boolean} [stacked]
 * @property {boolean} [zeroBased]
 * @property {number} [top] the value axis never goes over this
 * @property {boolean} [distinct] a later query adds only names that the ones before it have not
 * @property {string} [empty] what to say when there are no series
 */
export class Panel extends HTMLElement {
  #spec = null;
  #api = null;
  #pageRange = null;
  #ended = null;
  #refresher = new Refresher(
    (signal) => this.#load(signal),
    (error) => this.#failed(error, this.#spec),
  );
  #loadedOnce = false;
  #answeredMs = null;
  #table = null;
  #entries = [];
  #lines = []; // the entries that are drawn
  #asked = null;
  #points = null; // of what is shown
  #hidden = new Set();
  #chart = new Chart();
  #legend = new Legend();
  #title = el("h2", { class: "panel-title" });
  #note = el("span", { class: "panel-note" });
  #drawn = el("span", { class: "panel-drawn" });
  #unit = "none";
  #actions = el(
    "div",
    { class: "panel-actions" },
    el("button", { class: "link panel-link", on: { click: () => this.#showTable() } }, "Table"),
  );
  #cover = el("div", { class: "panel-cover" });
  #body = el("div", { class: "panel-body" }, this.#chart, this.#cover);

  /** What the panel asks and how it draws. */
  setup({ spec, prometheus, pageRange, legend = "inline", hidden = new Set() }) {
    this.#spec = spec;
    this.#api = prometheus;
    this.#pageRange = pageRange;
    this.#hidden = hidden;
    this.#legend.setAttribute("mode", legend);
    return this;
  }

  get actions() {
    return this.#actions;
  }
  get chart() {
    return this.#chart;
  }
  get table() {
    return this.#table;
  }
  /** The text and grid of its first query as das was asked. */
  get asked() {
    return this.#asked;
  }
  get names() {
    return this.#entries.map((entry) => entry.title);
  }
  get keys() {
    return this.#entries.map((entry) => entry.key);
  }
  get hiddenKeys() {
    return this.#hidden;
  }
  set hiddenKeys(hidden) {
    this.#hidden = hidden;
    if (this.#table) this.#show();
  }

  /** Other queries; what was shown answers none of them, and goes. */
  set spec(spec) {
    this.#spec = spec;
    this.#asked = null;
    this.#loadedOnce = false;
    this.#empty();
    fill(this.#cover);
    if (this.isConnected) this.#title.textContent = spec.title;
    this.reload();
  }

  connectedCallback() {
    this.classList.add("panel");
    this.#title.textContent = this.#spec.title;
    this.#actions.firstChild.setAttribute("aria-label", `${this.#spec.title} as a table`);
    this.replaceChildren(
      el("div", { class: "panel-head" }, this.#title, this.#note, this.#drawn, this.#actions),
      this.#body,
      this.#legend,
    );
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    whileSeen(this, this.#refresher, signal);
    this.reload();
    this.#pageRange.addEventListener("range", () => this.reload(), { signal });
    this.#pageRange.addEventListener("tick", () => this.#refresher.refresh(), { signal });
    themeEvents.addEventListener(
      "change",
      () => {
        if (this.#table) this.#show();
      },
      { signal },
    );
    this.addEventListener("coh-isolate", (event) => this.#hide(isolate(this.#hidden, this.keys, event.detail.key)), {
      signal,
    });
    this.addEventListener("coh-toggle", (event) => this.#hide(toggle(this.#hidden, this.keys, event.detail.key)), {
      signal,
    });
    this.addEventListener(
      "coh-focus",
      (event) => {
        this.#chart.focusLine(event.detail ? this.#lines.findIndex((entry) => entry.key === event.detail.key) : -1);
      },
      { signal },
    );
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  /** Asks again now, or once the panel can be seen; what is shown is no answer to it. */
  reload() {
    this.#points = null;
    if (this.isConnected) this.#refresher.restart();
  }

  #hide(hidden) {
    this.#hidden = hidden;
    this.#show();
    this.dispatchEvent(new CustomEvent("coh-hidden", { bubbles: true }));
  }

  async #load(signal) {
    const spec = this.#spec;
    // not before it asks: what moves out of sight costs a frame each 16 ms all the same
    if (!this.#loadedOnce && !this.#cover.firstChild) fill(this.#cover, loadingState());
    this.classList.toggle("busy", this.#points === null); // a tick moves nothing but the data
    const span = this.#pageRange.span();
    const nowMs = hubClock.now();
    const startedMs = performance.now();
    const plans = await Promise.all(spec.queries.map(({ query }) => this.#api.plan(query, span, nowMs, signal)));
    const [{ points }] = plans;
    this.#asked = plans[0];
    const answers = await Promise.all(plans.map((one) => this.#answer(one, signal)));
    const series = await inSteps(seriesInSteps(spec.queries, answers, points, spec), signal);
    return () => {
      this.classList.remove("busy");
      this.#pageRange.report();
      this.#answeredMs = hubClock.now();
      if (!this.#isShown(series, points)) this.#take(spec, answers, series, points, span);
      const elapsedMs = performance.now() - startedMs;
      const detail = { elapsedMs, step: points.step, series: this.#entries.length };
      this.dispatchEvent(new CustomEvent("coh-loaded", { bubbles: true, detail }));
    };
  }

  /** The points of one query, and what lies between them where that can be told. */
  async #answer({ query, points, extremes }, signal) {
    const between = (text) =>
      text &&
      this.#api.queryRange(text, points, signal).catch((error) => {
        if (isAbort(error)) throw error;
        return null;
      });
    const wantsMean = this.#legend.getAttribute("mode") === "table";
    const [{ data, warnings }, low, high, mean] = await Promise.all([
      this.#api.queryRange(query, points, signal),
      between(extremes?.low),
      between(extremes?.high),
      between(wantsMean && extremes?.mean),
    ]);
    const missed = extremes !== null && !(low && high);
    return { data, low: low?.data, high: high?.data, mean: mean?.data, warnings, missed };
  }

  /** Whether the chart shows just this: the same series at the same points, and no trouble since. */
  #isShown(series, points) {
    const { start, end, step } = this.#points ?? {};
    const unmoved = start === points.start && end === points.end && step === points.step;
    return unmoved && isSame(series, this.#table.series);
  }

  #take(spec, answers, series, points, span) {
    const warnings = answers.flatMap((answer) => answer.warnings);
    const each = duration(points.step);
    const infinite = infinities(series);
    if (infinite > 0) warnings.push(`${infinite} infinite values are not drawn`);
    if (answers.some(({ missed }) => missed))
      warnings.push(`one point each ${each} only: what lies between two points is not seen`);
    const enveloped = series.some(({ highs }) => highs);
    this.#loadedOnce = true;
    this.#points = points;
    this.#table = { times: timesOf(points), series, span: [span.fromMs / 1000, span.toMs / 1000] };
    this.#note.textContent =
      warnings.length > 0
        ? warnings[0]
        : [spec.hint, enveloped && `least to greatest in each ${each}`].filter(Boolean).join(" · ");
    this.#note.title = warnings.join("\n");
    this.#note.classList.toggle("warning", warnings.length > 0);
    this.classList.remove("failed");
    if (series.length === 0) {
      this.#empty(this.#table);
      fill(this.#cover, emptyState("No samples in this range", spec.empty ?? ""));
      return;
    }
    fill(this.#cover);
    this.#show();
  }

  #show() {
    const { times, series, span } = this.#table;
    const spec = this.#spec;
    const theme = chartTheme();
    const unit = spec.unit ?? unitOfQuery(spec.queries[0].query, spec.declaredUnit);
    const identities = series.map(({ identity }) => identity);
    const styles = seriesStyles.of(identities, { alike: theme.forced });
    this.#entries = series.map((one, index) => ({
      ...one,
      color: one.color ? (theme[one.color] ?? one.color) : theme.series[styles[index].slot],
      dash: styles[index].dash,
      hidden: this.#hidden.has(one.key),
    }));
    const visible = this.#entries.filter((entry) => !entry.hidden);
    const shown = greatest(visible);
    this.#drawn.textContent = visible.length > shown.length ? `the greatest ${shown.length} of ${visible.length}` : "";
    this.#lines = shown;
    const drawings = shown.map(drawnOf);
    const stacked = spec.stacked && isStackable(shown); // never extremes: those of each do not add up
    const columns = stacked ? stack(shown.map((entry) => entry.values)) : drawings.map(({ drawn }) => drawn);
    const lone = this.#entries.length === 1 && !stacked;
    this.#chart.model = {
      times,
      columns,
      values: shown.map((entry) => entry.values),
      mirrored: spec.queries.some(({ negate }) => negate),
      lines: shown.map((entry, index) => ({
        name: entry.name,
        color: entry.color,
        dash: entry.dash ?? undefined,
        width: stacked ? 1 : 1.5,
        fill: stacked && index === 0 ? withAlpha(entry.color, 0.45) : lone ? withAlpha(entry.color, 0.12) : null,
      })),
      bands: stacked
        ? shown.slice(1).map(({ color }, index) => ({ series: [index + 2, index + 1], fill: withAlpha(color, 0.45) }))
        : [],
      bounds: stacked ? [] : drawings,
      unit,
      span,
      zeroBased: spec.zeroBased || stacked,
      top: spec.top ?? null,
      zone: this.#pageRange.zone,
      title: spec.title,
    };
    this.#legend.model = { entries: this.#entries, unit };
    this.#unit = unit;
  }

  #showTable() {
    if (!this.#table) return;
    const { title } = this.#spec;
    dataTable(this.#table, { title, names: this.names, unit: this.#unit, zone: this.#pageRange.zone });
  }

  /** Nothing drawn and nothing in the legend; `table`: the answer that was empty. */
  #empty(table = null) {
    const { fromMs, toMs } = this.#pageRange.span();
    this.#table = table;
    this.#entries = [];
    this.#lines = [];
    this.#legend.model = { entries: [], unit: "none" };
    this.#chart.model = {
      times: table?.times ?? [],
      lines: [],
      columns: [],
      unit: "none",
      span: table?.span ?? [fromMs / 1000, toMs / 1000],
      zone: this.#pageRange.zone,
      title: this.#spec.title,
    };
  }

  #failed(error, spec) {
    this.#points = null;
    this.classList.remove("busy");
    this.#pageRange.report(error);
    if (this.#loadedOnce && this.#table?.series.length > 0 && error.kind !== "bad_data") {
      this.#note.textContent = `not refreshed since ${clockTime(this.#answeredMs, this.#pageRange.zone)}`;
      this.#note.title = error.message;
      this.#note.classList.add("warning");
      return;
    }
    this.classList.add("failed");
    this.#empty();
    const query = spec.queries.length === 1 ? (this.#asked?.query ?? "") : "";
    fill(this.#cover, failedState(error, { query, retry: () => this.reload() }));
  }
}
