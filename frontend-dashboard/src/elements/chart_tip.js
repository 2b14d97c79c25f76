/** What a chart tells of one moment: its tooltip, and the same in words. */

import { el } from "../dom.js";
import { fullTime } from "../format/time.js";
import { format } from "../format/units.js";
import { swatchOf } from "./swatch.js";

const ROWS = 10;
const NO_BOUNDS = Object.freeze({ lows: null, highs: null });

/** @typedef {import("./chart.js").ChartModel} ChartModel */

/** Least and greatest of each step of a line; nulls where its points are all there is. */
export function boundsOf(model, line) {
  return model.bounds?.[line] ?? NO_BOUNDS;
}

/** The shown lines that have a value at this point, greatest first. */
export function rowsAt(model, idx) {
  const { lines, columns, values } = model;
  return lines
    .map((line, index) => {
      const { lows, highs } = boundsOf(model, index);
      const drawn = columns[index][idx];
      const value = (values ?? columns)[index][idx] ?? drawn;
      return { line, value, drawn, low: lows?.[idx] ?? null, high: highs?.[idx] ?? null };
    })
    .filter(({ value }) => value !== null && value !== undefined)
    .sort((a, b) => b.value - a.value);
}

/** The texts of the regions that hold this point. */
export function regionsAt({ times, regions = [] }, idx) {
  const holds = ({ from, to, text }) => text && from <= times[idx] && times[idx] <= to;
  return regions.filter(holds).map(({ text }) => text);
}

/** The value at the point, and in which range it moved within the step. */
export function toldOf({ unit, mirrored }, { value, low, high }) {
  const text = format(value, unit);
  if (low === null || high === null || low === high) return text;
  const ends = mirrored ? [Math.abs(low), Math.abs(high)].sort((a, b) => a - b) : [low, high];
  return `${text} (${format(ends[0], unit)} – ${format(ends[1], unit)})`;
}

/**
 * The tooltip's children.
 * @param {ChartModel} model
 * @param {number|null} height the pointer's, as a value: the line next to it is marked
 */
export function tipContent(model, idx, height) {
  const rows = rowsAt(model, idx);
  let near = null;
  if (height !== null && model.columns.length > 1)
    for (const row of rows)
      if (near === null || Math.abs(row.drawn - height) < Math.abs(near.drawn - height)) near = row;
  let first = 0;
  if (near && rows.length > ROWS) first = Math.min(Math.max(rows.indexOf(near) - ROWS / 2, 0), rows.length - ROWS);
  const shown = rows.slice(first, first + ROWS);
  return [
    el("div", { class: "chart-tip-time" }, fullTime(model.times[idx] * 1000, model.zone)),
    shown.length === 0
      ? el("div", { class: "chart-tip-none" }, "no sample here")
      : shown.map((row) =>
          el(
            "div",
            { class: row === near ? "chart-tip-row near" : "chart-tip-row" },
            swatchOf(row.line),
            el("span", { class: "chart-tip-name" }, row.line.name),
            el("span", { class: "chart-tip-value" }, toldOf(model, row)),
          ),
        ),
    regionsAt(model, idx).map((text) => el("div", { class: "chart-tip-region" }, text)),
    rows.length > shown.length && el("div", { class: "chart-tip-none" }, `${rows.length - shown.length} more`),
  ];
}
