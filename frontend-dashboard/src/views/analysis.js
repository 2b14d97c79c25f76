/** Analysis: start a job, watch it, and see what it found on the chart. */

import { isAbort } from "../api/client.js";
import { withAlpha } from "../charts/options.js";
import { chartTheme } from "../charts/theme.js";
import { el, fill, icon, wait } from "../dom.js";
import { Chart } from "../elements/chart.js";
import { viewHead } from "../elements/shell.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { duration, format, unitOfQuery } from "../format/units.js";
import { relativeTime, shortTime } from "../format/time.js";
import { hubClock } from "../state/clock.js";
import { anomalyColumns, isDone, progressWords, resultNames, stepChoices } from "../state/jobs.js";
import { PRESETS, resolve } from "../state/time_range.js";
import { themeEvents } from "../state/theme.js";
import { formatHash } from "../state/url.js";

const POLL_MS = 1000;
const IDLE_POLL_MS = 10_000;
const EPISODES_CAP = 50;

export class AnalysisView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #opened = null; // AbortController of the shown job
  #jobs = [];
  #listed = false; // the first answer is here
  #analyses = [];
  #list = el("div", { class: "job-list" }, loadingState());
  #detail = el("div", { class: "job-detail" });
  #form = el("div", { class: "job-form" });
  #wake = () => {};

  connectedCallback() {
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    const start = el(
      "button",
      { type: "button", class: "button primary", on: { click: () => this.app.go("#/analysis?new=1") } },
      icon("add"),
      "New analysis",
    );
    start.hidden = !this.app.can("analysis:run");
    this.replaceChildren(
      viewHead("Analysis", "", start),
      el(
        "div",
        { class: "analysis" },
        el(
          "section",
          { class: "card jobs", "aria-label": "Jobs" },
          el("h2", { class: "section-title" }, "Jobs"),
          this.#list,
        ),
        el("div", { class: "analysis-main" }, this.#form, this.#detail),
      ),
    );
    themeEvents.addEventListener("change", () => this.#redraw(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        if (!document.hidden) this.#wake();
      },
      { signal },
    );
    this.routeChanged();
    this.#follow(signal);
  }

  disconnectedCallback() {
    this.#ended?.abort();
    this.#opened?.abort();
  }

  routeChanged() {
    const { path, params } = this.app.route;
    const id = path[1] ?? "";
    this.#opened?.abort();
    this.#shown = null;
    if (params.new) {
      fill(this.#detail);
      this.#showForm(params);
    } else {
      fill(this.#form);
      if (id) this.#open(id);
      else
        fill(
          this.#detail,
          el(
            "div",
            { class: "card" },
            emptyState(
              "What was out of the ordinary?",
              "An analysis reads a query over a range and marks where a series left what its own past, " +
                "hour, day and week led to expect.",
              this.app.can("analysis:run") &&
                el(
                  "button",
                  { type: "button", class: "button primary", on: { click: () => this.app.go("#/analysis?new=1") } },
                  "New analysis",
                ),
            ),
          ),
        );
    }
    this.#drawList();
  }

  // -- the list

  async #follow(signal) {
    for (;;) {
      try {
        if (!document.hidden) {
          const answer = await this.app.client.service("aps", "/api/v1/jobs", { params: { limit: 50 }, signal });
          this.#jobs = answer.jobs;
          this.#listed = true;
          this.#drawList();
        }
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        if (this.#jobs.length === 0) fill(this.#list, failedState(error, { retry: () => this.#wake() }));
      }
      try {
        await this.#pause(this.#jobs.some((job) => !isDone(job)) ? POLL_MS : IDLE_POLL_MS, signal);
      } catch {
        return;
      }
    }
  }

  #pause(ms, signal) {
    return Promise.race([
      wait(ms, signal),
      new Promise((resolvePause) => {
        this.#wake = resolvePause;
      }),
    ]);
  }

  #drawList() {
    if (this.#jobs.length === 0) {
      if (this.#listed) fill(this.#list, el("p", { class: "quiet" }, "No jobs yet."));
      return;
    }
    const id = this.app.route.path[1];
    fill(
      this.#list,
      this.#jobs.map((job) =>
        el(
          "a",
          { class: "job", href: `#/analysis/${job.id}`, "aria-current": job.id === id ? "true" : false },
          el(
            "span",
            { class: "job-top" },
            el("span", { class: `pill ${job.state}` }, job.state),
            el("time", {}, relativeTime(Date.parse(job.created_at))),
          ),
          el("code", { class: "job-query" }, job.query),
          el("span", { class: "job-range" }, `${shortTime(job.start_ms)} – ${shortTime(job.end_ms)}`),
          !isDone(job) && progressBar(job),
        ),
      ),
    );
  }

  // -- a new one

  async #showForm(params) {
    fill(this.#form, el("section", { class: "card" }, loadingState()));
    try {
      const answer = await this.app.client.service("aps", "/api/v1/analyses", { signal: this.#ended.signal });
      this.#analyses = answer.analyses;
    } catch (error) {
      if (isAbort(error)) return;
      fill(this.#form, el("section", { class: "card" }, failedState(error, { retry: () => this.#showForm(params) })));
      return;
    }
    const analysis = this.#analyses.find(({ kind }) => kind === "anomaly");
    const query = el("textarea", {
      class: "input mono",
      name: "query",
      rows: 2,
      required: true,
      spellcheck: false,
      value: params.q ?? "",
      placeholder: "sum(rate(cloudopshub_http_requests_total[5m]))",
      "data-search": "primary",
    });
    const asked = { from: params.from ?? "now-24h", to: params.to ?? "now" };
    const presets = PRESETS.map(([length, words]) => [`now-${length}`, `last ${words}`]);
    const known = asked.to === "now" && presets.some(([from]) => from === asked.from);
    const range = el(
      "select",
      { class: "select wide", name: "range" },
      !known && el("option", { value: "" }, "the range from Explore"),
      presets.map(([from, words]) => el("option", { value: from, selected: known && from === asked.from }, words)),
    );
    const step = el("select", { class: "select wide", name: "step" });
    const span = () =>
      resolve(range.value ? { from: range.value, to: "now" } : asked, hubClock.now()) ??
      resolve({ from: "now-24h", to: "now" }, hubClock.now());
    const fillSteps = () => {
      const { choices, best } = stepChoices(span());
      fill(
        step,
        choices.map((seconds) =>
          el("option", { value: String(seconds), selected: seconds === best }, duration(seconds)),
        ),
      );
    };
    range.addEventListener("change", fillSteps);
    fillSteps();
    const parameters = analysis.parameters;
    const trouble = el("p", { class: "form-trouble", role: "alert" });
    const submit = el("button", { type: "submit", class: "button primary" }, "Start");
    fill(
      this.#form,
      el(
        "form",
        {
          class: "card stack",
          on: {
            submit: async (event) => {
              event.preventDefault();
              trouble.textContent = "";
              submit.disabled = true;
              const stepMs = Number(step.value) * 1000;
              const { fromMs, toMs } = span();
              try {
                const job = await this.app.client.service("aps", "/api/v1/jobs", {
                  method: "POST",
                  json: {
                    kind: analysis.kind,
                    query: query.value.trim(),
                    start_ms: Math.floor(fromMs / stepMs) * stepMs,
                    end_ms: Math.floor(toMs / stepMs) * stepMs,
                    step_ms: stepMs,
                    params: Object.fromEntries(
                      parameters.map((parameter) => [parameter.name, valueOf(event.target, parameter)]),
                    ),
                  },
                });
                this.#wake();
                this.app.go(`#/analysis/${job.id}`);
              } catch (error) {
                trouble.textContent = error.message;
              } finally {
                submit.disabled = false;
              }
            },
          },
        },
        el(
          "div",
          { class: "form-head" },
          el("h2", {}, analysis.title),
          el("p", { class: "quiet" }, analysis.description),
        ),
        el("label", { class: "field" }, el("span", {}, "Query"), query),
        el(
          "div",
          { class: "fields" },
          el("label", { class: "field" }, el("span", {}, "Range"), range),
          el("label", { class: "field" }, el("span", {}, "Step"), step),
          parameters.slice(0, 2).map(parameterField),
        ),
        parameters.length > 2 &&
          el(
            "details",
            {},
            el("summary", {}, "More settings"),
            el("div", { class: "fields" }, parameters.slice(2).map(parameterField)),
          ),
        trouble,
        el("div", { class: "form-actions" }, submit, el("a", { class: "button plain", href: "#/analysis" }, "Cancel")),
      ),
    );
    query.focus();
  }

  // -- one job

  #shown = null; // {job, result, at}

  async #open(id) {
    const opened = new AbortController();
    this.#opened = opened;
    const { signal } = opened;
    fill(this.#detail, el("section", { class: "card" }, loadingState()));
    try {
      for (;;) {
        const job = await this.app.client.service("aps", `/api/v1/jobs/${encodeURIComponent(id)}`, { signal });
        this.#drawJob(job);
        if (job.state === "succeeded") {
          const result = await this.app.client.service("aps", `/api/v1/jobs/${encodeURIComponent(id)}/result`, {
            signal,
          });
          this.#shown = { job, result, at: loudest(result) };
          this.#drawResult();
          return;
        }
        if (isDone(job)) return;
        await wait(POLL_MS, signal);
      }
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      fill(this.#detail, el("section", { class: "card" }, failedState(error, { retry: () => this.#open(id) })));
    }
  }

  #head(job) {
    const act = (verb, words) =>
      el(
        "button",
        {
          type: "button",
          class: "button small",
          on: {
            click: async (event) => {
              event.target.disabled = true;
              try {
                await this.app.client.service("aps", `/api/v1/jobs/${encodeURIComponent(job.id)}/${verb}`, {
                  method: "POST",
                  json: {},
                });
                this.#wake();
                this.#opened?.abort();
                this.#open(job.id);
              } catch (error) {
                event.target.disabled = false;
                this.app.toast(error.message, { bad: true });
              }
            },
          },
        },
        words,
      );
    const mayRun = this.app.can("analysis:run");
    return el(
      "header",
      { class: "job-head" },
      el(
        "div",
        { class: "job-headline" },
        el("span", { class: `pill ${job.state}` }, job.state),
        el("code", { class: "job-query whole" }, job.query),
      ),
      el(
        "p",
        { class: "quiet" },
        `${shortTime(job.start_ms)} – ${shortTime(job.end_ms)}, one point each ${duration(job.step_ms / 1000)}`,
        job.attempts > 1 && `, attempt ${job.attempts}`,
      ),
      job.state === "succeeded" &&
        job.error &&
        el("p", { class: "quiet", role: "status" }, icon("warning"), ` ${job.error}`),
      el(
        "div",
        { class: "job-actions" },
        mayRun && !isDone(job) && act("cancel", "Cancel"),
        mayRun && (job.state === "failed" || job.state === "cancelled") && act("retry", "Run again"),
        el(
          "a",
          {
            class: "button small plain",
            href: formatHash({ path: ["explore"], params: { q: job.query, from: job.start_ms, to: job.end_ms } }),
          },
          "Open in Explore",
        ),
      ),
    );
  }

  #drawJob(job) {
    const body = [];
    if (job.state === "failed")
      body.push(
        el(
          "div",
          { class: "state state-failed", role: "alert" },
          el("p", { class: "state-title" }, icon("warning"), "The analysis failed"),
          el("p", { class: "state-text" }, job.error ?? "No reason was recorded."),
        ),
      );
    else if (job.state === "cancelled") body.push(emptyState("Cancelled", "Nothing was kept of it."));
    else
      body.push(
        el("div", { class: "job-progress" }, progressBar(job), el("p", { role: "status" }, progressWords(job))),
      );
    fill(this.#detail, el("section", { class: "card" }, this.#head(job), body));
  }

  #redraw() {
    if (this.#shown) this.#drawResult();
  }

  #drawResult() {
    const { job, result, at } = this.#shown;
    if (result.series.length === 0) {
      fill(
        this.#detail,
        el(
          "section",
          { class: "card" },
          this.#head(job),
          emptyState("No series", "The query matched nothing in this range."),
        ),
      );
      return;
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
      this.app.go(formatHash({ path: ["explore"], params }));
    });
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
              change: (event) => {
                this.#shown.at = Number(event.target.value);
                this.#drawResult();
              },
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
    fill(
      this.#detail,
      el(
        "section",
        { class: "card" },
        this.#head(job),
        el(
          "div",
          { class: "result-facts" },
          fact(summary.anomalies, summary.anomalies === 1 ? "episode" : "episodes"),
          fact(summary.series, summary.series === 1 ? "series" : "series"),
          fact(summary.points, "points"),
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
        this.#episodes(result, names, unit),
      ),
    );
  }

  #episodes(result, names, unit) {
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
                          this.#shown.at = episode.index;
                          this.#drawResult();
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
                duration(Math.max(episode.end_ms - episode.start_ms, 0) / 1000 || this.#shown.job.step_ms / 1000),
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
}

function loudest(result) {
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

function progressBar(job) {
  const { done = 0, total = 0 } = job.progress ?? {};
  const bar = el("progress", { class: "progress", "aria-label": "Progress" });
  if (total > 0) {
    bar.max = total;
    bar.value = done;
  }
  return bar;
}

/** One input for one parameter, as its kind describes it. */
function parameterField(parameter) {
  const name = `param-${parameter.name}`;
  const words = parameter.name.replaceAll("_", " ");
  const note = el("span", { class: "field-note" }, parameter.description ?? "");
  switch (parameter.type) {
    case "boolean":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el(
          "span",
          { class: "check" },
          el("input", { type: "checkbox", name, checked: parameter.default === true }),
          parameter.description ?? "",
        ),
      );
    case "choice":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el(
          "select",
          { class: "select wide", name },
          (parameter.choices ?? []).map((choice) =>
            el("option", { value: choice, selected: choice === parameter.default }, choice),
          ),
        ),
        note,
      );
    case "number":
    case "integer":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el("input", {
          class: "input",
          type: "number",
          name,
          required: true,
          value: String(parameter.default),
          step: parameter.type === "integer" ? "1" : "any",
          ...(parameter.minimum === undefined
            ? {}
            : { min: String(parameter.minimum), max: String(parameter.maximum) }),
        }),
        note,
      );
    default:
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el("input", { class: "input", name, value: String(parameter.default ?? ""), required: true }),
        note,
      );
  }
}

function valueOf(form, parameter) {
  const input = form.elements[`param-${parameter.name}`];
  if (parameter.type === "boolean") return input.checked;
  return parameter.type === "number" || parameter.type === "integer" ? Number(input.value) : input.value;
}
