/** Tables: of things, whose rows are cards on a phone; of a chart, for whoever reads better than sees. */

import { el } from "../dom.js";
import { fullTime } from "../format/time.js";
import { rowsOf } from "../state/table_rows.js";
import { openDialog } from "./dialog.js";

/**
 * Opens the data of a chart as a table, newest first; gone when it is closed.
 * @param {{times: number[], series: object[]}} data
 * @param {{title: string, names: string[], unit: string, zone: "local"|"utc"}} words
 */
export function dataTable(data, { title, names, unit, zone }) {
  const { head, rows, more } = rowsOf(data, names, unit);
  openDialog(
    { title, label: `${title}, as a table`, wide: true },
    el(
      "div",
      { class: "table-scroll", tabIndex: 0, role: "region", "aria-label": title },
      el(
        "table",
        { class: "table" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col" }, "Time"),
            head.map((name) => el("th", { scope: "col", class: "number" }, name)),
          ),
        ),
        el(
          "tbody",
          {},
          rows.map(({ timeS, cells }) =>
            el(
              "tr",
              {},
              el("th", { scope: "row", class: "nowrap" }, fullTime(timeS * 1000, zone)),
              cells.map((cell) => el("td", { class: "number nowrap" }, cell)),
            ),
          ),
        ),
      ),
    ),
    more && el("p", { class: "quiet" }, more),
  );
}

/**
 * Every cell carries the name of its column.
 * @param {string[]} heads an empty one is a column of buttons
 * @param {HTMLTableRowElement[]} rows
 */
export function table(heads, rows) {
  const head = el(
    "tr",
    {},
    heads.map((name) => (name ? el("th", { scope: "col" }, name) : el("td"))),
  );
  const shown = el(
    "div",
    { class: "table-scroll" },
    el("table", { class: "table cards" }, el("thead", {}, head), el("tbody")),
  );
  addRows(shown, rows);
  [...head.cells].forEach((cell, at) => cell.classList.toggle("number", rows[0]?.cells[at].className === "number"));
  return shown;
}

const ROWS_AT_ONCE = 10;

/** A table of which the first rows are shown, and the others on a click. */
export function longTable(heads, rows) {
  const more = rows.slice(ROWS_AT_ONCE);
  return [
    table(heads, rows.slice(0, ROWS_AT_ONCE)),
    more.length > 0 && el("details", {}, el("summary", {}, `${more.length} more`), table(heads, more)),
  ];
}

/** The table `shown` ends with these rows. */
export function addRows(shown, rows) {
  const heads = [...shown.querySelectorAll("thead tr > *")].map((cell) => cell.textContent);
  for (const one of rows) heads.forEach((name, index) => one.cells[index].setAttribute("data-head", name));
  shown.querySelector("tbody").append(...rows);
}

/** A row of these cells; one is its content, or `[class, content, title]`. */
export function row(...cells) {
  return el(
    "tr",
    {},
    cells.map((cell) => {
      const [name, content, title] = Array.isArray(cell) ? cell : ["", cell];
      return el("td", { class: name, title }, content);
    }),
  );
}
