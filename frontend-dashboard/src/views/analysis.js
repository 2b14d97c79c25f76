/** Analysis: start a job of any kind, watch it, and see what it says. */

import { isAbort } from "../api/client.js";
import { el, fill, icon, rescueFocus, wait } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { emptyState, failedState, loadingState } from "../elements/states.js";
import { isDone, progressWords } from "../state/jobs.js";
import { wordsOf } from "../state/results.js";
import { analysisForm } from "./analysis_form.js";
import { jobHead } from "./analysis_head.js";
import { JobList, progressBar } from "./analysis_list.js";
import { resultCards } from "./analysis_result.js";
import { card, choice } from "./settings/section.js";

const POLL_MS = 1000;
const IDLE_POLL_MS = 10_000;
const FIRST_EVENT_MS = 5000;
const SILENT_MS = 30_000; // then the job is read, in case the stream is dead
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export class AnalysisView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #opened = null; // AbortController of the shown job
  #kinds = null; // promise of the kinds of analysis
  #titles = new Map();
  #jobs = [];
  #list = new JobList();
  #filters = el("div", { class: "job-filters" });
  #main = el("div", { class: "analysis-main" });
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
          this.#filters,
          this.#list.node,
        ),
        this.#main,
      ),
    );
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake(), { signal });
    this.#drawFilters();
    this.routeChanged();
    this.#follow(signal);
    this.#analyses(signal).catch(() => {}); // the form asks again, and tells
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
    const mayRun = this.app.can("analysis:run");
    if (params.new && mayRun) this.#showForm(params);
    else if (id) this.#open(id);
    else
      fill(
        this.#main,
        card(
          emptyState(
            "What broke, what changed, what comes?",
            "An analysis reads a query over a range, and says of each series what was unusual, what changed, or " +
              "what is to be expected.",
            mayRun ? this.#startButton("") : el("p", { class: "quiet" }, "Owners and admins start one."),
          ),
        ),
      );
    this.#list.mark(id);
    for (const select of this.#filters.children) select.value = this.#filter[select.name];
  }

  #startButton(drawing) {
    const open = () => this.app.go("#/analysis?new=1");
    return el("button", { class: "button primary", on: { click: open } }, drawing, "New analysis");
  }

  #ask(path, request = {}) {
    return this.app.client.service("aps", `/api/v1/${path}`, request);
  }

  /** The kinds of analysis, asked for once. */
  #analyses(signal) {
    this.#kinds ??= this.#ask("analyses", { signal }).then(
      ({ analyses }) => {
        this.#titles = new Map(analyses.map(({ kind, title }) => [kind, title]));
        this.#drawFilters();
        this.#showJobs();
        return analyses;
      },
      (error) => {
        this.#kinds = null;
        throw error;
      },
    );
    return this.#kinds;
  }

  #titleOf = (kind) => this.#titles.get(kind) ?? wordsOf(kind);

  // -- the list

  get #filter() {
    const { of = "", state = "" } = this.app.route.params;
    return { of, state };
  }

  #drawFilters() {
    const select = (name, words, options) =>
      choice(
        {
          name,
          "aria-label": words,
          on: {
            change: ({ target }) => {
              this.app.setParams({ [name]: target.value });
              this.#wake();
            },
          },
        },
        options,
        this.#filter[name],
      );
    fill(
      this.#filters,
      select("of", "Kind", [["", "every kind"], ...this.#titles]),
      select("state", "State", [["", "every state"], ...STATES.map((state) => [state, state])]),
    );
  }

  #showJobs() {
    if (this.#jobs) this.#list.show(this.#jobs, this.app.route.path[1], this.#filter, this.#titleOf);
  }

  async #follow(signal) {
    for (;;) {
      try {
        if (!document.hidden) {
          const { of: kind, state } = this.#filter;
          this.#jobs = (await this.#ask("jobs", { params: { limit: 50, kind, state }, signal })).jobs;
          this.#showJobs();
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
    fill(this.#main, card(loadingState()));
    try {
      const analyses = await this.#analyses(this.#ended.signal);
      if (signal.aborted) return; // another place was chosen meanwhile
      const form = analysisForm(analyses, params, {
        choose: (kind) => this.app.setParams({ kind }),
        start: (submission) => this.#submit(submission),
      });
      fill(this.#main, form);
      form.querySelector("textarea").focus();
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      fill(this.#main, card(failedState(error, { retry: () => this.#showForm(params) })));
    }
  }

  async #submit(submission) {
    const job = await this.#ask("jobs", { method: "POST", json: submission });
    this.#wake();
    const hash = `#/analysis/${job.id}`;
    if (location.hash === hash) this.routeChanged();
    else this.app.go(hash);
  }

  // -- one job

  async #open(id) {
    const { signal } = this.#opened;
    const path = `jobs/${encodeURIComponent(id)}`;
    let drawn = { state: null, update: () => {} };
    let hasEvents = true;
    const show = (job) => {
      if (job.state !== drawn.state) {
        if (job.state === "succeeded" && drawn.state !== null) this.app.toast("The analysis is done");
        drawn = { state: job.state, update: this.#drawJob(job, signal) };
      }
      drawn.update(job);
    };
    fill(this.#main, card(loadingState()));
    const titles = this.#analyses(this.#ended.signal).catch(() => {}); // without them a kind has its plain name
    try {
      for (;;) {
        const job = await this.#ask(path, { signal });
        await titles;
        if (signal.aborted) return;
        show(job);
        if (isDone(job)) return;
        const told = hasEvents ? await this.#listen(path, show, signal) : null;
        hasEvents = told !== null;
        if (!hasEvents || !isDone(told)) await wait(POLL_MS, signal);
      }
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      fill(this.#main, card(failedState(error, { retry: () => this.#open(id) })));
    }
  }

  /**
   * Shows the job as its events tell it, until it is done, or they end, or none comes for long.
   * @returns {Promise<object|null>} the last of them, if any came
   */
  async #listen(path, show, signal) {
    const stream = new AbortController();
    let timer = setTimeout(() => stream.abort(), FIRST_EVENT_MS);
    let last = null;
    const take = (later) => {
      clearTimeout(timer);
      timer = setTimeout(() => stream.abort(), SILENT_MS);
      last = later;
      if (isDone(later)) stream.abort(); // the job is read once more
      else show(later);
    };
    try {
      await this.app.client.events("aps", `/api/v1/${path}/events`, take, {
        signal: AbortSignal.any([signal, stream.signal]),
      });
    } catch (error) {
      if (signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
    }
    return last;
  }

  /**
   * The job as it is in this state.
   * @returns {(job: object) => void} shows a later answer in the same state: nothing else is made anew
   */
  #drawJob(job, signal) {
    const head = jobHead(this.app, job, this.#titleOf(job.kind), {
      submit: (submission) => this.#submit(submission),
      changed: () => {
        this.#wake();
        if (this.isConnected && !signal.aborted) this.routeChanged();
      },
    });
    if (job.state === "succeeded") {
      fill(this.#main, resultCards(this.app, job, head, signal));
      return () => {};
    }
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
    fill(this.#main, card(head, body()));
    rescueFocus();
    return (later) => {
      progress.update(later);
      words.textContent = progressWords(later);
    };
  }
}
