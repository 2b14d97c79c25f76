/** `<coh-health-strip>`: each service with its last half hour as bars: up, down, or nobody looked. */

import { isAbort } from "../api/client.js";
import { toTable } from "../api/matrix.js";
import { el, fill } from "../dom.js";
import { clockTime } from "../format/time.js";
import { grid } from "../state/sampling.js";

const BARS = 30;
const BAR_S = 60;
const HUB = [
  "data-api-service",
  "data-ingest-service",
  "analysis-processing-service",
  "user-billing-service",
  "frontend-dashboard",
  "node",
];

/** `up` by job over time → what each bar says, the hub's own jobs first. Pure. */
export function healthRows(table) {
  return table.series
    .map(({ labels, values }) => {
      const states = values.map((value) => (value === null ? "none" : value >= 1 ? "up" : value > 0 ? "part" : "down"));
      const known = values.filter((value) => value !== null);
      return {
        job: labels.job ?? "(no job)",
        states,
        now: states.findLast((state) => state !== "none") ?? "none",
        uptime: known.length === 0 ? null : known.reduce((sum, value) => sum + Math.min(value, 1), 0) / known.length,
      };
    })
    .sort((a, b) => rank(a.job) - rank(b.job) || a.job.localeCompare(b.job));
}

function rank(job) {
  const at = HUB.indexOf(job);
  return at < 0 ? HUB.length : at;
}

const WORDS = { up: "Up", down: "Down", part: "Partly up", none: "Not seen" };

export class HealthStrip extends HTMLElement {
  #api = null;
  #pageRange = null;
  #ended = null;
  #request = null;

  setup({ prometheus, pageRange }) {
    this.#api = prometheus;
    this.#pageRange = pageRange;
    return this;
  }

  connectedCallback() {
    this.classList.add("health");
    if (!this.firstChild)
      fill(
        this,
        HUB.slice(0, 5).map((job) =>
          card({ job, states: new Array(BARS).fill("none"), now: "none", uptime: null }, [], "local"),
        ),
      );
    this.#ended = new AbortController();
    for (const name of ["range", "tick"])
      this.#pageRange.addEventListener(name, () => this.#load(), { signal: this.#ended.signal });
    this.#load();
  }

  disconnectedCallback() {
    this.#ended?.abort();
    this.#request?.abort();
  }

  async #load() {
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    const { toMs } = this.#pageRange.span();
    const points = grid({ fromMs: toMs - (BARS - 1) * BAR_S * 1000, toMs }, BAR_S, Date.now());
    try {
      const { data } = await this.#api.queryRange("min by (job) (min_over_time(up[1m]))", points, request.signal);
      if (request !== this.#request) return;
      const table = toTable(data, points);
      const rows = healthRows(table);
      if (rows.length > 0)
        fill(
          this,
          rows.map((row) => card(row, table.times, this.#pageRange.zone)),
        );
      this.dispatchEvent(
        new CustomEvent("coh-health", {
          bubbles: true,
          detail: { down: rows.filter(({ now }) => now === "down").map(({ job }) => job), known: rows.length },
        }),
      );
    } catch (error) {
      if (isAbort(error) || request !== this.#request) return;
      this.title = error.message;
    }
  }
}

function card(row, times, zone) {
  const bars = el(
    "div",
    {
      class: "health-bars",
      role: "img",
      "aria-label":
        row.uptime === null
          ? "no history yet"
          : `${(row.uptime * 100).toFixed(row.uptime === 1 ? 0 : 1)} % up over the last half hour`,
    },
    row.states.slice(-BARS).map((state, index, shown) =>
      el("span", {
        class: `health-bar ${state}`,
        title:
          times.length > 0
            ? `${clockTime(times[times.length - shown.length + index] * 1000, zone)} ${WORDS[state].toLowerCase()}`
            : "",
      }),
    ),
  );
  return el(
    "div",
    { class: "health-card", "data-state": row.now },
    el(
      "div",
      { class: "health-head" },
      el("span", { class: "health-dot", "aria-hidden": "true" }),
      el(
        "span",
        { class: "health-job", title: row.job },
        row.job === "node" ? "this host" : row.job.replace(/-service$/, ""),
      ),
      el("span", { class: "health-now" }, WORDS[row.now]),
    ),
    bars,
  );
}
