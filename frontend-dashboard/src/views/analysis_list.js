/** The list of jobs. A row stays the same element: the focus on it, and a click on it, outlive the next answer. */

import { el, fill } from "../dom.js";
import { loadingState } from "../elements/states.js";
import { relativeTime, shortTime } from "../format/time.js";
import { isDone } from "../state/jobs.js";
import { formatHash } from "../state/url.js";

export class JobList {
  node = el("div", { class: "job-list" }, loadingState());
  #rows = new Map(); // id → {link, update}

  /**
   * Shows these jobs, newest first.
   * @param {string} id the one that is open
   * @param {object} filters of the list, which a link to a job keeps
   * @param {(kind: string) => string} titleOf
   */
  show(jobs, id, filters, titleOf) {
    if (jobs.length === 0)
      fill(this.node, el("p", { class: "quiet" }, filters.of || filters.state ? "None of these." : "No jobs yet."));
    else if (this.#rows.size === 0) fill(this.node);
    this.#rows = new Map(jobs.map((job) => [job.id, this.#rows.get(job.id) ?? jobRow(job)]));
    jobs.forEach((job, index) => {
      const { link, update } = this.#rows.get(job.id);
      link.setAttribute("href", formatHash({ path: ["analysis", job.id], params: filters }));
      update(job, titleOf);
      if (this.node.children[index] !== link) this.node.insertBefore(link, this.node.children[index] ?? null);
    });
    while (this.node.children.length > Math.max(jobs.length, 1)) this.node.lastChild.remove();
    this.mark(id);
  }

  /** The job `id` is the open one. */
  mark(id) {
    for (const [own, { link }] of this.#rows) {
      if (own === id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  /** Says why there is none, unless there are some. */
  fail(content) {
    if (this.#rows.size === 0) fill(this.node, content);
  }
}

function jobRow({ kind, query, start_ms: startMs, end_ms: endMs }) {
  const pill = el("span");
  const age = el("time");
  const title = el("strong");
  const sentence = el("span", { class: "job-sentence" });
  const progress = progressBar();
  const link = el(
    "a",
    { class: "job" },
    el("span", { class: "job-top" }, pill, age),
    title,
    el("code", { class: "job-query" }, query),
    el("span", { class: "job-range" }, `${shortTime(startMs)} – ${shortTime(endMs)}`),
    sentence,
    progress.bar,
  );
  const update = (job, titleOf) => {
    pill.className = `pill ${job.state}`;
    pill.textContent = job.state;
    title.textContent = titleOf(kind);
    sentence.textContent = job.summary?.sentence ?? "";
    age.textContent = relativeTime(Date.parse(job.created_at));
    progress.bar.hidden = isDone(job);
    progress.update(job);
  };
  return { link, update };
}

/** How far a job is; `update` is called with each answer. */
export function progressBar() {
  const bar = el("progress", { class: "progress", "aria-label": "Progress" });
  const update = ({ progress }) => {
    const { done = 0, total = 0 } = progress ?? {};
    if (total > 0) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
  };
  return { bar, update };
}
