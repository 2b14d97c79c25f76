/** A table whose rows are cards on a phone: every cell carries the name of its column. */

import { el } from "../dom.js";

/**
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
  return shown;
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
