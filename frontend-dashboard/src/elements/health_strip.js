/** `<coh-health-strip>`: each source with its last half hour as bars, what holds now, and since when it is silent. */

import { toTable, toVector } from "../api/matrix.js";
import { el, fill } from "../dom.js";
import { clockTime, shortTime } from "../format/time.js";
import { hubClock } from "../state/clock.js";
import { HUB, healthRows, rowWords, targetsOf, verdict } from "../state/health.js";
import { Refresher } from "../state/refresher.js";
import { grid } from "../state/sampling.js";
import { samplesApart } from "../state/scrape.js";

const BARS = 30;
const BAR_S = 60;
const DAY_S = 86_400;
const HISTORY_MS = 60_000; // how often the day is looked at for who was there
const AGE_MS = 5_000; // how often what is said is held against its age
const BAR_WORDS = { up: "up", down: "down", none: "not seen" };

/** Events: `coh-health` with what may be said of all: `{state, words}`. */
export class HealthStrip extends HTMLElement {
  #api = null;
  #pageRange = null;
  #ended = null;
  #rows = [];
  #cards = new Map(); // what it says → card
  #answeredMs = null;
  #failed = false;
  #past = { history: [], intervals: [], jobs: [], atMs: -Infinity };
  #refresher = new Refresher(
    (signal) => this.#load(signal),
    (error) => {
      this.#failed = true;
      this.#pageRange.report(error);
      this.title = error.message;
      this.#tell();
    },
  );

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
        HUB.slice(0, 5).map((job) => card({ job, states: new Array(BARS).fill("none"), now: "none" }, "", [], "local")),
      );
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    for (const name of ["range", "tick"])
      this.#pageRange.addEventListener(name, () => this.#refresher.refresh(), { signal });
    const timer = setInterval(() => this.#tell(), AGE_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
    this.#refresher.restart();
  }

  disconnectedCallback() {
    this.#ended?.abort();
    this.#refresher.stop();
  }

  async #load(signal) {
    const nowMs = hubClock.now();
    const points = grid({ fromMs: nowMs - BARS * BAR_S * 1000, toMs: nowMs }, BAR_S, nowMs);
    const instant = async (query) => toVector((await this.#api.query(query, nowMs / 1000, signal)).data);
    const [bars, up, seen] = await Promise.all([
      this.#api.queryRange("min by (job) (min_over_time(up[1m]))", points, signal),
      instant("min by (job, instance) (up)"),
      instant("max by (job, instance) (timestamp(up))"),
      this.#lookBack(nowMs, signal),
    ]);
    return () => {
      const table = toTable(bars.data, points);
      this.#answeredMs = nowMs;
      this.#failed = false;
      this.#pageRange.report();
      this.title = "";
      this.#rows = healthRows(table, targetsOf({ up, seen, ...this.#past }), this.#past.jobs, nowMs / 1000);
      if (this.#rows.length > 0) this.#draw(table.times);
      this.#tell();
    };
  }

  /** The cards of rows that say something new are made anew. */
  #draw(times) {
    const { zone } = this.#pageRange;
    const clock = this.#clock();
    const before = this.#cards;
    this.#cards = new Map(
      this.#rows.map((row) => {
        const words = rowWords(row, clock);
        const key = JSON.stringify([row.job, row.states, row.now, row.uptime, row.seen, words, times, zone]);
        return [key, before.get(key) ?? card(row, words, times, zone)];
      }),
    );
    [...this.#cards.values()].forEach((node, at) => {
      const { seenS } = this.#rows[at];
      node.title = seenS ? `newest sample ${clockTime(seenS * 1000, zone)}` : "";
    });
    if ([...this.#cards.keys()].join() !== [...before.keys()].join()) fill(this, [...this.#cards.values()]);
  }

  /** Who was there in the last day and week, and how often each is scraped; asked once a minute. */
  async #lookBack(nowMs, signal) {
    if (nowMs - this.#past.atMs < HISTORY_MS) return;
    const nowS = nowMs / 1000;
    const instant = async (query) => toVector((await this.#api.queryAlone(query, nowS, signal)).data);
    const [history, intervals, jobs] = await Promise.all([
      instant("max by (job, instance) (max_over_time(timestamp(up)[1d:5m]))"),
      instant(`max by (job, instance) (${samplesApart("up")})`),
      this.#api.labelValues("job", { match: "up", start: nowS - 7 * DAY_S, end: nowS }, signal),
    ]);
    this.#past = { history, intervals, jobs, atMs: nowMs };
  }

  /** Seconds as a time of day; with the date where that was more than half a day ago. */
  #clock() {
    const { zone } = this.#pageRange;
    const nowMs = hubClock.now();
    return (seconds) =>
      nowMs - seconds * 1000 < (DAY_S / 2) * 1000
        ? clockTime(seconds * 1000, zone)
        : shortTime(seconds * 1000, zone, nowMs);
  }

  /** Says what may be said now: what was answered is no evidence for ever. */
  #tell() {
    const evidence = {
      answeredS: this.#answeredMs === null ? null : this.#answeredMs / 1000,
      failed: this.#failed,
      refreshS: this.#pageRange.refreshS,
    };
    const nowS = hubClock.now() / 1000;
    const detail = {
      ...verdict(this.#rows, evidence, nowS, this.#clock()),
      ageS: evidence.answeredS && Math.max(0, Math.round(nowS - evidence.answeredS)),
    };
    this.classList.toggle("unknown", detail.state === "none");
    this.dispatchEvent(new CustomEvent("coh-health", { bubbles: true, detail }));
  }
}

function card(row, words, times, zone) {
  const share = (100 * (row.uptime ?? 0)).toFixed(row.uptime === 1 ? 0 : 1);
  const past = row.seen ? `${share} % up in ${row.seen} of the last ${BARS} minutes` : "not seen in the last half hour";
  const bars = el(
    "div",
    { class: "health-bars", role: "img", "aria-label": past },
    row.states.slice(-BARS).map((state, index, shown) =>
      el("span", {
        class: `health-bar ${state}`,
        title:
          times.length > 0
            ? `${clockTime(times[times.length - shown.length + index] * 1000, zone)} ${BAR_WORDS[state]}`
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
      el("span", { class: "health-now" }, words),
    ),
    bars,
  );
}
