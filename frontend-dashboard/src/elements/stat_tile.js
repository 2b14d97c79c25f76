/** `<coh-stat-tile>`: one number now, and the line it came along. */

import { summary, timesOf } from "../api/matrix.js";
import { el, fill, setText } from "../dom.js";
import { clockTime, fullTime } from "../format/time.js";
import { format } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { Refresher } from "../state/refresher.js";
import { seriesOf } from "../state/series.js";
import { tileOf } from "../state/tile.js";
import { whileSeen } from "./seen.js";

const WIDTH = 120;
const HEIGHT = 28;
const SVG = "http://www.w3.org/2000/svg";

/** The drawn line of a sparkline: gaps and infinities break it; `[0, top]` fills the height. Pure. */
export function sparkPath(values, top, width = WIDTH, height = HEIGHT) {
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    if (!Number.isFinite(value)) {
      pen = false;
      return;
    }
    const x = values.length > 1 ? (index / (values.length - 1)) * width : width;
    const y = height - 1.5 - Math.min(Math.max(value / (top || 1), 0), 1) * (height - 3);
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  });
  return path;
}

export class StatTile extends HTMLElement {
  #spec = null;
  #api = null;
  #pageRange = null;
  #ended = null;
  #answeredMs = null;
  #text = null;
  #refresher = new Refresher(
    (signal) => this.#load(signal),
    (error) => this.#failed(error),
  );
  #value = el("div", { class: "stat-value" }, "–");
  #note = el("div", { class: "stat-note" });
  #line = document.createElementNS(SVG, "path");

  /**
   * @param {{spec: {title: string, query: string, unit: string, top?: number, warnAt?: number, badAt?: number,
   * worst?: boolean, note?: string}}} parts
   */
  setup({ spec, prometheus, pageRange }) {
    this.#spec = spec;
    this.#api = prometheus;
    this.#pageRange = pageRange;
    return this;
  }

  connectedCallback() {
    this.classList.add("stat");
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      class: "spark",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    }))
      svg.setAttribute(key, value);
    svg.append(this.#line);
    this.#note.textContent = this.#spec.note ?? "";
    this.replaceChildren(
      el("div", { class: "stat-title" }, this.#spec.title),
      el("div", { class: "stat-row" }, this.#value, svg),
      this.#note,
    );
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    whileSeen(this, this.#refresher, signal);
    this.#pageRange.addEventListener("range", () => this.#refresher.restart(), { signal });
    this.#pageRange.addEventListener("tick", () => this.#refresher.refresh(), { signal });
    this.#refresher.restart();
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  async #load(signal) {
    const span = this.#pageRange.span();
    const { query, points, extremes } = await this.#api.plan(this.#spec.query, span, hubClock.now(), signal);
    const [{ data }, high] = await Promise.all([
      this.#api.queryRange(query, points, signal),
      extremes && this.#api.queryRange(extremes.high, points, signal).catch(() => null),
    ]);
    return () => {
      this.#pageRange.report();
      const { zone } = this.#pageRange;
      const series = seriesOf([{}], [{ data, low: high?.data, high: high?.data }], points);
      const table = { times: timesOf(points), series };
      const { value, values, level, note } = tileOf(table, this.#spec, (seconds) => clockTime(seconds * 1000, zone));
      const { unit, top } = this.#spec;
      const text = format(value, unit);
      if (text !== this.#text) fill(this.#value, parts(text));
      this.#text = text;
      this.#line.setAttribute("d", sparkPath(values, top ?? (summary(values.filter(Number.isFinite)).max ?? 0) * 1.1));
      this.dataset.level = level;
      setText(this.#note, note);
      this.#note.title = note;
      this.title = `at ${fullTime(points.end * 1000, zone)}`;
      this.#answeredMs = hubClock.now();
    };
  }

  /** What is shown is no longer of now: it loses its colour and gets its age. */
  #failed(error) {
    this.#pageRange.report(error);
    this.dataset.level = "none";
    this.#note.textContent =
      this.#answeredMs === null
        ? "not reachable"
        : `not refreshed since ${clockTime(this.#answeredMs, this.#pageRange.zone)}`;
    this.title = error.message;
  }
}

/** The number large, its unit small. */
function parts(text) {
  const match = /^(\S+)\s(.+)$/.exec(text);
  return match ? [match[1], el("span", { class: "stat-unit" }, match[2])] : [text];
}
