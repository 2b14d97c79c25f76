/** Analysis: start a job, watch it, and see what it found on the chart. */

import { isAbort } from "../api/client.js";
import { el, fill, icon, rescueFocus, wait } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { duration } from "../format/units.js";
import { shortTime } from "../format/time.js";
import { isDone, progressWords } from "../state/jobs.js";
import { themeEvents } from "../state/theme.js";
import { formatHash } from "../state/url.js";
import { analysisForm } from "./analysis_form.js";
import { JobList, progressBar } from "./analysis_list.js";
import { loudest, resultCards } from "./analysis_result.js";

const POLL_MS = 1000;
const IDLE_POLL_MS = 10_000;

export class AnalysisView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #opened = null; // AbortController of the shown job
  #jobs = [];
  #list = new JobList();
  #detail = el("div", { class: "job-detail" });
  #form = el("div", { class: "job-form" });
  #wake = () => {};

  connectedCallback() {
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    this.replaceChildren(
      viewHead("Analysis", "", this.app.can("analysis:run") && this.#startButton(icon("add"))),
      el(
        "div",
        { class: "analysis" },
        el(
          "section",
          { class: "card jobs", "aria-label": "Jobs" },
          el("h2", { class: "section-title" }, "Jobs"),
          this.#list.node,
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
    this.#opened = new AbortController();
    this.#shown = null;
    const mayRun = this.app.can("analysis:run");
    if (params.new && mayRun) {
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
              mayRun ? this.#startButton("") : el("p", { class: "quiet" }, "Owners and admins start one."),
            ),
          ),
        );
    }
    this.#list.mark(id);
  }

  #startButton(drawing) {
    const open = () => this.app.go("#/analysis?new=1");
    return el("button", { type: "button", class: "button primary", on: { click: open } }, drawing, "New analysis");
  }

  // -- the list

  async #follow(signal) {
    for (;;) {
      try {
        if (!document.hidden) {
          const answer = await this.app.client.service("aps", "/api/v1/jobs", { params: { limit: 50 }, signal });
          this.#jobs = answer.jobs;
          this.#list.show(answer.jobs, this.app.route.path[1]);
        }
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        this.#list.fail(failedState(error, { retry: () => this.#wake() }));
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

  // -- a new one

  async #showForm(params) {
    const { signal } = this.#opened;
    fill(this.#form, el("section", { class: "card" }, loadingState()));
    let analyses;
    try {
      ({ analyses } = await this.app.client.service("aps", "/api/v1/analyses", { signal }));
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      fill(this.#form, el("section", { class: "card" }, failedState(error, { retry: () => this.#showForm(params) })));
      return;
    }
    if (signal.aborted) return; // another place was chosen meanwhile
    const analysis = analyses.find(({ kind }) => kind === "anomaly");
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
    const { signal } = this.#opened;
    const path = `/api/v1/jobs/${encodeURIComponent(id)}`;
    let drawn = { state: null, update: () => {} };
    fill(this.#detail, el("section", { class: "card" }, loadingState()));
    try {
      for (;;) {
        const job = await this.app.client.service("aps", path, { signal });
        if (job.state === "succeeded") {
          const result = await this.app.client.service("aps", `${path}/result`, { signal });
          this.#shown = { job, result, at: loudest(result) };
          if (drawn.state !== null) this.app.toast("The analysis is done");
          this.#drawResult();
          rescueFocus();
          return;
        }
        if (job.state !== drawn.state) drawn = { state: job.state, update: this.#drawJob(job) };
        drawn.update(job);
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
                if (this.isConnected) this.routeChanged();
                rescueFocus();
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

  /**
   * The job as it is in this state.
   * @returns {(job: object) => void} shows a later answer in the same state: nothing else is made anew
   */
  #drawJob(job) {
    const progress = progressBar();
    const words = el("p"); // not a live region: it changes each second
    const body =
      {
        failed: () =>
          el(
            "div",
            { class: "state state-failed", role: "alert" },
            el("p", { class: "state-title" }, icon("warning"), "The analysis failed"),
            el("p", { class: "state-text" }, job.error ?? "No reason was recorded."),
          ),
        cancelled: () => emptyState("Cancelled", "Nothing was kept of it."),
      }[job.state] ?? (() => el("div", { class: "job-progress" }, progress.bar, words));
    fill(this.#detail, el("section", { class: "card" }, this.#head(job), body()));
    rescueFocus();
    return (later) => {
      progress.update(later);
      words.textContent = progressWords(later);
    };
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
          this.#detail.querySelector("select").focus();
        },
        explore: (params) => this.app.go(formatHash({ path: ["explore"], params })),
      }),
    );
  }
}
