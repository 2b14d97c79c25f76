/**
 * `<coh-legend>`: the series of a chart with their figures; click isolates one, ctrl- or shift-click adds and
 * removes.
 */

import { summary } from "../api/matrix.js";
import { el, fill, setText } from "../dom.js";
import { swatchOf } from "./swatch.js";
import { format } from "../format/units.js";

const CAP = 20;
const INLINE_MAX = 12;
const ROWS_MAX = 100; // more at once would hold the page up; they are found by sorting and by the filter
const FILTER_FROM = 9;
const COLUMNS = ["last", "min", "max", "mean"];

/**
 * @typedef {{key: string, name: string, title: string, color: string, hidden: boolean, values: (number|null)[]}} Entry
 */
export class Legend extends HTMLElement {
  #entries = [];
  #unit = "none";
  #filter = "";
  #all = false;
  #sort = null; // {column, down}
  #body = el("tbody");
  #count = el("span", { class: "legend-count" });
  #more = el("button", {
    class: "link",
    hidden: true,
    on: {
      click: () => {
        this.#all = !this.#all;
        this.#rows();
      },
    },
  });
  #search = el("input", {
    type: "search",
    placeholder: "Filter series",
    class: "legend-filter",
    "aria-label": "Filter series",
    "data-search": "secondary",
    on: {
      input: (event) => {
        this.#filter = event.target.value.toLowerCase();
        this.#rows();
      },
    },
  });
  #head = el("div", { class: "legend-head" }, this.#search, this.#count);
  #heads = [];
  #shape = ""; // what its rows were made from
  #figures = []; // [column, node], row by row

  /** @param {{entries: Entry[], unit: string}} model */
  set model({ entries, unit }) {
    this.#entries = entries.map((entry) => ({ ...entry, stats: summary(entry.values, entry) }));
    this.#unit = unit;
    if (this.isConnected) this.#rows();
  }

  connectedCallback() {
    const inline = this.getAttribute("mode") === "inline";
    this.#shape = "";
    if (inline) {
      this.replaceChildren();
    } else if (!this.firstChild) {
      this.#heads = ["Series", ...COLUMNS].map((name) =>
        el(
          "th",
          { scope: "col", class: name === "Series" ? "" : "number" },
          el("button", { class: "sort", on: { click: () => this.#sortBy(name) } }, name),
        ),
      );
      this.append(
        this.#head,
        el(
          "div",
          { class: "table-scroll" },
          el("table", { class: "legend-table" }, el("thead", {}, el("tr", {}, this.#heads)), this.#body),
        ),
        this.#more,
      );
    }
    this.#rows();
  }

  #sortBy(column) {
    this.#sort =
      this.#sort?.column === column ? { column, down: !this.#sort.down } : { column, down: column !== "Series" };
    this.#rows();
  }

  /** The rows anew; who had the focus keeps it. */
  #rows() {
    const focused = this.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.#draw();
    if (focused) this.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #draw() {
    if (this.getAttribute("mode") === "inline") {
      const shown = this.#entries.slice(0, INLINE_MAX);
      this.#fill(shown, () =>
        fill(
          this,
          shown.map((entry) => this.#button(entry, this.#figure("now"))),
          this.#entries.length > INLINE_MAX &&
            el("span", { class: "legend-count" }, `and ${this.#entries.length - INLINE_MAX} more`),
        ),
      );
      return;
    }
    this.hidden = this.#entries.length === 0;
    const matching = this.#entries.filter(
      ({ title, name }) =>
        !this.#filter || title.toLowerCase().includes(this.#filter) || name.toLowerCase().includes(this.#filter),
    );
    if (this.#sort) {
      const { column, down } = this.#sort;
      const sign = down ? -1 : 1;
      matching.sort((a, b) =>
        column === "Series"
          ? sign * a.name.localeCompare(b.name)
          : sign * ((a.stats[column] ?? -Infinity) - (b.stats[column] ?? -Infinity)),
      );
    }
    this.#heads.forEach((head, index) => {
      const name = ["Series", ...COLUMNS][index];
      if (this.#sort?.column === name) head.setAttribute("aria-sort", this.#sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const shown = matching.slice(0, this.#all ? ROWS_MAX : CAP);
    this.#search.hidden = this.#entries.length < FILTER_FROM;
    this.#head.hidden = this.#entries.length < FILTER_FROM;
    this.#count.textContent = this.#filter
      ? `${matching.length} of ${this.#entries.length} series`
      : `${this.#entries.length} series`;
    this.#more.hidden = matching.length <= CAP;
    const all = matching.length > ROWS_MAX ? `${ROWS_MAX} of` : "all";
    this.#more.textContent = this.#all ? `Show ${CAP}` : `Show ${all} ${matching.length}`;
    this.#fill(shown, () =>
      fill(
        this.#body,
        shown.map((entry) =>
          el(
            "tr",
            {
              class: entry.hidden ? "off" : "",
              on: { mouseenter: () => this.#say("coh-focus", entry), mouseleave: () => this.#say("coh-focus", null) },
            },
            el("th", { scope: "row" }, this.#button(entry)),
            COLUMNS.map((column) => el("td", { class: "number" }, this.#figure(column))),
          ),
        ),
      ),
    );
  }

  /** The rows of these entries: made anew where they are others or look otherwise; figures that changed are written. */
  #fill(shown, make) {
    const shape = JSON.stringify([
      this.#entries.length,
      shown.map((entry) => [
        entry.key,
        entry.name,
        entry.title,
        entry.color,
        entry.dash,
        entry.hidden,
        hasEnded(entry),
      ]),
    ]);
    if (shape !== this.#shape) {
      this.#figures = [];
      make();
    }
    this.#shape = shape;
    this.#figures.forEach(([column, node], at) => {
      setText(node, this.#textOf(shown[Math.floor((at * shown.length) / this.#figures.length)], column));
    });
  }

  #figure(column) {
    const node = el("span", column === "now" ? { class: "legend-value" } : {});
    this.#figures.push([column, node]);
    return node;
  }

  #textOf(entry, column) {
    if (column === "now") return hasEnded(entry) ? "ended" : format(entry.stats.last, this.#unit);
    return format(entry.stats[column], this.#unit);
  }

  #button(entry, figure = null) {
    return el(
      "button",
      {
        class: entry.hidden ? "legend-entry off" : "legend-entry",
        title: entry.title,
        "data-key": entry.key,
        "aria-pressed": String(!entry.hidden),
        on: {
          click: (event) =>
            this.#say(event.ctrlKey || event.metaKey || event.shiftKey ? "coh-toggle" : "coh-isolate", entry),
        },
      },
      swatchOf(entry),
      el("span", { class: "legend-name" }, !figure && hasEnded(entry) ? `${entry.name} (ended)` : entry.name),
      figure,
    );
  }

  #say(name, entry) {
    this.dispatchEvent(new CustomEvent(name, { detail: entry && { key: entry.key }, bubbles: true }));
  }
}

const hasEnded = ({ stats, values }) => stats.last !== null && values.at(-1) === null;
