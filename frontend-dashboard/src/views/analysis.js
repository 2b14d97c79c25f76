/** Analysis: start a job, watch it, and see what it found on the chart. */

import { isAbort } from "../api/client.js";
import { el, fill, icon, wait } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { duration } from "../format/units.js";
import { relativeTime, shortTime } from "../format/time.js";
import { isDone, progressWords } from "../state/jobs.js";
import { themeEvents } from "../state/theme.js";
import { formatHash } from "../state/url.js";
import { analysisForm } from "./analysis_form.js";
import { loudest, resultCards } from "./analysis_result.js";

const POLL_MS = 1000;
const IDLE_POLL_MS = 10_000;

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
    fill(
      this.#form,
      analysisForm(analysis, params, async (asked) => {
        const job = await this.app.client.service("aps", "/api/v1/jobs", { method: "POST", json: asked });
        this.#wake();
        this.app.go(`#/analysis/${job.id}`);
      }),
    );
    this.#form.querySelector("textarea").focus();
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
    const { job } = this.#shown;
    fill(
      this.#detail,
      resultCards(this.#shown, {
        head: this.#head(job),
        pick: (index) => {
          this.#shown.at = index;
          this.#drawResult();
        },
        explore: (params) => this.app.go(formatHash({ path: ["explore"], params })),
      }),
    );
  }
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
