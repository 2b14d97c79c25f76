/** The first sample, seen as it arrives. */

import { isAbort } from "../api/client.js";
import { summary, toTable } from "../api/matrix.js";
import { el, fill, wait } from "../dom.js";
import { sparkPath } from "../elements/stat_tile.js";
import { clockTime } from "../format/time.js";
import { format, unitOfMetric } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { selector } from "../state/query.js";
import { grid } from "../state/sampling.js";
import { CURL_METRIC, writeUrl } from "../state/snippets.js";
import { formatHash } from "../state/url.js";

const POLL_MS = 2000;
const LOOK_BACK_S = 120;
const NAMES_CAP = 8;
const SVG = "http://www.w3.org/2000/svg";

/**
 * Waits for a metric or job that was not there when the page was opened, or for curl's sample. Names alone are asked
 * for: cheap at any size, and an agent's first samples always bring new ones.
 */
export class Arrival {
  #app;
  #title = el("div", { role: "status" }); // what is below it changes at each answer, and is not spoken
  #body = el("div", { class: "stack" });
  #said = "";
  card = el("section", { class: "card arrival" }, this.#title, this.#body);

  /** @param {import("../app.js").App} app */
  constructor(app) {
    this.#app = app;
  }

  async watch(signal) {
    const openedS = hubClock.now() / 1000;
    let before = null;
    this.#say(
      "waiting",
      "Waiting for the first sample",
      el("p", { class: "quiet" }, "It shows here within seconds of arriving at"),
      el("code", { class: "wrap" }, writeUrl(location.origin)),
    );
    for (;;) {
      try {
        const seen = await this.#names(hubClock.now() / 1000, signal);
        before ??= seen;
        const metrics = seen.metrics.filter((name) => !before.metrics.includes(name));
        const jobs = seen.jobs.filter((name) => !before.jobs.includes(name));
        const hello = seen.metrics.includes(CURL_METRIC) && (await this.#newer(CURL_METRIC, openedS, signal));
        if (metrics.length > 0 || jobs.length > 0 || hello) {
          await this.#arrived(hello && metrics.length === 0 ? [CURL_METRIC] : metrics, jobs, signal);
          return;
        }
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        this.#say("failed", "Cannot look for samples right now", el("p", { class: "quiet" }, error.message));
      }
      try {
        await wait(POLL_MS, signal);
      } catch {
        return;
      }
    }
  }

  #say(dot, title, ...content) {
    fill(this.#body, content);
    if (title === this.#said) return;
    this.#said = title;
    fill(this.#title, el("h2", { class: "arrival-title" }, el("span", { class: `beacon ${dot}` }), title));
  }

  async #names(nowS, signal) {
    const within = { start: nowS - LOOK_BACK_S, end: nowS + 60 };
    const [metrics, jobs] = await Promise.all([
      this.#app.prometheus.labelValues("__name__", within, signal),
      this.#app.prometheus.labelValues("job", within, signal),
    ]);
    return { metrics, jobs };
  }

  async #newer(metric, sinceS, signal) {
    const { data } = await this.#app.prometheus.query(`max(timestamp(${metric}))`, hubClock.now() / 1000, signal);
    return Number(data.result[0]?.value?.[1] ?? 0) >= Math.floor(sinceS);
  }

  async #arrived(metrics, jobs, signal) {
    const query =
      jobs.length > 0 && metrics.length === 0 ? selector("", [{ label: "job", op: "=", value: jobs[0] }]) : null;
    const counted = `${metrics.length} new ${metrics.length === 1 ? "metric" : "metrics"}`;
    const what = metrics.length > 0 ? counted : "a new job";
    const from = jobs.length > 0 ? ` from ${jobs.join(", ")}` : "";
    const shownBy = query ? { q: query } : { m: metrics[0], q: metrics[0] };
    const rows = metrics.slice(0, NAMES_CAP).map((name) => this.#row(name));
    const more = metrics.length - rows.length;
    this.#say(
      "arrived-dot",
      "Samples are arriving",
      el("p", { class: "quiet" }, `Since ${clockTime(hubClock.now())}: ${what}${from}`),
      el(
        "ul",
        { class: "arrived" },
        rows.map(({ node }) => node),
        more > 0 && el("li", { class: "quiet" }, `and ${more} more`),
      ),
      el(
        "div",
        { class: "state-actions" },
        el(
          "a",
          {
            class: "button primary",
            href: formatHash({ path: ["explore"], params: { ...shownBy, from: "now-15m", to: "now" } }),
          },
          "Look at them in Explore",
        ),
      ),
    );
    while (!signal.aborted && rows.length > 0) {
      try {
        await Promise.all(rows.map(({ update }) => update(signal)));
        await wait(POLL_MS * 2, signal);
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        await wait(POLL_MS * 4, signal).catch(() => {});
      }
    }
  }

  /** A metric with its last five minutes; `update` asks for them. */
  #row(name) {
    const svg = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
    for (const [key, value] of Object.entries({
      viewBox: "0 0 120 28",
      class: "spark",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    }))
      svg.setAttribute(key, value);
    svg.append(path);
    const value = el("span", { class: "number" });
    const node = el(
      "li",
      {},
      el(
        "a",
        { href: `#/explore?${new URLSearchParams({ m: name, q: selector(name), from: "now-15m", to: "now" })}` },
        el("code", {}, name),
      ),
      svg,
      value,
    );
    const update = async (signal) => {
      const nowMs = hubClock.now();
      const points = grid({ fromMs: nowMs - 300_000, toMs: nowMs }, 5, nowMs);
      const { data } = await this.#app.prometheus.queryRange(`sum(${selector(name)})`, points, signal);
      const values = toTable(data, points).series[0]?.values ?? [];
      const { last, max } = summary(values);
      path.setAttribute("d", sparkPath(values, (max ?? 0) * 1.1));
      value.textContent = format(last, unitOfMetric(name));
    };
    return { node, update };
  }
}
