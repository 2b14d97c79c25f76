/** The data of a chart as a table, for whoever reads better than sees: newest first, in a dialog. */

import { el } from "../dom.js";
import { fullTime } from "../format/time.js";
import { rowsOf } from "../state/table_rows.js";
import { openDialog } from "./dialog.js";

/**
 * Opens the table; gone when it is closed.
 * @param {{times: number[], series: object[]}} table
 * @param {{title: string, names: string[], unit: string, zone: "local"|"utc"}} words
 */
export function dataTable(table, { title, names, unit, zone }) {
  const { head, rows, more } = rowsOf(table, names, unit);
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
