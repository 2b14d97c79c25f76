/** What a job asked, and what may be done with it. */

import { el, icon, rescueFocus } from "../dom.js";
import { confirmed } from "../elements/dialog.js";
import { shortTime } from "../format/time.js";
import { duration } from "../format/units.js";
import { isDone } from "../state/jobs.js";
import { formatHash } from "../state/url.js";
import { exploreHash } from "./analysis_series.js";

/**
 * @param {import("../app.js").App} app
 * @param {object} job
 * @param {string} title of its kind
 * @param {object} acts
 * @param {(submission: object) => Promise<void>} acts.submit
 * @param {() => void} acts.changed the job is another than before
 */
export function jobHead(app, job, title, { submit, changed }) {
  const { kind, query, state, start_ms, end_ms, step_ms, params } = job;
  const path = `/api/v1/jobs/${encodeURIComponent(job.id)}`;
  const attempt = async (action) => {
    try {
      await action();
    } catch (error) {
      app.toast(error.message, { bad: true });
    }
  };
  const act = (words, action) => {
    const click = async (event) => {
      event.target.disabled = true;
      await attempt(action);
      event.target.disabled = false;
    };
    return el("button", { class: "button small", on: { click } }, words);
  };
  const post = (verb) => async () => {
    await app.client.service("aps", `${path}/${verb}`, { method: "POST", json: {} });
    changed();
    rescueFocus();
  };
  const remove = async () =>
    confirmed("Delete this analysis?", "Its result goes with it.", "Delete", () =>
      attempt(async () => {
        await app.client.service("aps", path, { method: "DELETE" });
        app.go("#/analysis");
        changed();
      }),
    );
  const again = () => submit({ kind, query, start_ms, end_ms, step_ms, params, force: true });
  const alike = {
    new: 1,
    kind,
    q: query,
    from: start_ms,
    to: end_ms,
    step: step_ms / 1000,
    with: JSON.stringify(params),
  };
  return el(
    "header",
    { class: "job-head" },
    el(
      "div",
      { class: "job-headline" },
      el("span", { class: `pill ${state}` }, state),
      el("h2", {}, title),
      el("code", { class: "job-query whole" }, query),
    ),
    el(
      "p",
      { class: "quiet" },
      `${shortTime(start_ms)} – ${shortTime(end_ms)}, step ${duration(step_ms / 1000)}`,
      job.attempts > 1 && `, attempt ${job.attempts}`,
    ),
    state === "succeeded" &&
      job.error &&
      el("p", { class: "quiet job-warning", role: "status" }, icon("warning"), el("span", {}, job.error)),
    el(
      "div",
      { class: "job-actions" },
      app.can("analysis:run") && [
        !isDone(job) && act("Cancel", post("cancel")),
        (state === "failed" || state === "cancelled") && act("Run again", post("retry")),
        state === "succeeded" && act("Compute again", again),
        isDone(job) && act("Delete", remove),
        el(
          "a",
          { class: "button small plain", href: formatHash({ path: ["analysis"], params: alike }) },
          "Another like it",
        ),
      ],
      el("a", { class: "button small plain", href: exploreHash(query, start_ms, end_ms) }, "Open in Explore"),
    ),
  );
}
