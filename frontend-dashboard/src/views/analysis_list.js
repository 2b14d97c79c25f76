/** The list of jobs. A row stays the same element: the focus on it, and a click on it, outlive the next answer. */

import { el, fill } from "../dom.js";
import { loadingState } from "../elements/states.js";
import { relativeTime, shortTime } from "../format/time.js";
import { isDone } from "../state/jobs.js";

export class JobList {
  node = el("div", { class: "job-list" }, loadingState());
  #rows = new Map(); // id → {link, update}

  /** Shows these jobs, newest first; `id`: the one that is open. */
  show(jobs, id) {
    if (jobs.length === 0) fill(this.node, el("p", { class: "quiet" }, "No jobs yet."));
    else if (this.#rows.size === 0) fill(this.node);
    this.#rows = new Map(jobs.map((job) => [job.id, this.#rows.get(job.id) ?? jobRow(job)]));
    jobs.forEach((job, index) => {
      const { link, update } = this.#rows.get(job.id);
      update(job);
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

function jobRow({ id, query, start_ms: startMs, end_ms: endMs }) {
  const pill = el("span");
  const age = el("time");
  const progress = progressBar();
  const link = el(
    "a",
    { class: "job", href: `#/analysis/${id}` },
    el("span", { class: "job-top" }, pill, age),
    el("code", { class: "job-query" }, query),
    el("span", { class: "job-range" }, `${shortTime(startMs)} – ${shortTime(endMs)}`),
    progress.bar,
  );
  const update = (job) => {
    pill.className = `pill ${job.state}`;
    pill.textContent = job.state;
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
