/** `<coh-stat-tile>`: one number now, and the line it came along. */

import { isAbort } from "../api/client.js";
import { summary, toTable } from "../api/matrix.js";
import { el, fill } from "../dom.js";
import { format } from "../format/units.js";
import { plan } from "../state/sampling.js";

const WIDTH = 120;
const HEIGHT = 28;
const SVG = "http://www.w3.org/2000/svg";

/** The drawn line of a sparkline: gaps break it; `[0, top]` fills the height. Pure. */
export function sparkPath(values, top, width = WIDTH, height = HEIGHT) {
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null) {
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
  #request = null;
  #value = el("div", { class: "stat-value" }, "–");
  #note = el("div", { class: "stat-note" });
  #line = document.createElementNS(SVG, "path");

  /**
   * @param {{spec: {title: string, query: string, unit: string, top?: number, warnAt?: number, badAt?: number,
   * note?: string}}} parts
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
    const span = this.#pageRange.span();
    const { query, points } = plan(this.#spec.query, span, Date.now());
    try {
      const { data } = await this.#api.queryRange(query, points, request.signal);
      if (request !== this.#request) return;
      const values = toTable(data, points).series[0]?.values ?? [];
      const { last, max } = summary(values);
      const { unit, top, warnAt = Infinity, badAt = Infinity } = this.#spec;
      fill(this.#value, parts(format(last, unit)));
      this.#line.setAttribute("d", sparkPath(values, top ?? (max ?? 0) * 1.1));
      this.dataset.level = last === null ? "none" : last >= badAt ? "bad" : last >= warnAt ? "warn" : "good";
      this.#note.textContent = last >= badAt || last >= warnAt ? "high" : (this.#spec.note ?? "");
      this.title = "";
    } catch (error) {
      if (isAbort(error) || request !== this.#request) return;
      this.#note.textContent = "not refreshed";
      this.title = error.message;
    }
  }
}

/** The number large, its unit small. */
function parts(text) {
  const match = /^(\S+)\s(.+)$/.exec(text);
  return match ? [match[1], el("span", { class: "stat-unit" }, match[2])] : [text];
}
