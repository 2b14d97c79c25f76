/**
 * What uPlot is told, as data. Pure: no DOM, no clock; colours and sizes come in.
 *
 * @typedef {{name: string, color: string, width?: number, fill?: string|null, dash?: number[]}} Line
 */

import { axisTexts, binarySplits } from "../format/units.js";
import { LAYER_LINES } from "./lines.js";

/** `#rrggbb` with an alpha, for fills; of a colour by name, which may be a person's own, nothing is filled. */
export function withAlpha(color, alpha) {
  const match = /^#([0-9a-f]{6})$/i.exec(color);
  if (!match) return "transparent";
  return `#${match[1]}${Math.round(alpha * 255)
    .toString(16)
    .padStart(2, "0")}`;
}

const NOISE = 1e-9; // a float's rounding, next to the value itself
const NOTHING = 1e-12;

/**
 * The value axis: from zero unless the values are far from it; a flat line in the middle of its own room. Values that
 * differ by rounding only are flat: noise must not fill the axis.
 */
export function valueRange(min, max, { zeroBased = false, top = null } = {}) {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  const size = Math.max(Math.abs(min), Math.abs(max));
  let low = size < NOTHING ? 0 : min;
  let high = size < NOTHING ? 0 : max - min <= size * NOISE ? low : max;
  if (zeroBased || (low >= 0 && low < high * 0.6) || (low === high && low >= 0)) low = 0;
  if (high <= 0 && high > low * 0.6) high = 0;
  if (low === high) {
    if (low === 0) high = 1;
    else {
      low -= Math.abs(low) * 0.1;
      high += Math.abs(high) * 0.1;
    }
  }
  const room = (high - low) * 0.08;
  if (high > 0) high += room;
  if (low < 0) low -= room;
  if (top !== null && high > top && max <= top * 1.001) high = top;
  return [low, high];
}

/** Room for the longest tick text; 11 px type is about 6.4 px a character. */
export function axisWidth(labels) {
  const longest = Math.max(0, ...(labels ?? []).map((label) => label.length));
  return Math.max(44, Math.ceil(longest * 6.4) + 14);
}

/**
 * @param {object} chart
 * @param {number} chart.width
 * @param {number} chart.height
 * @param {Line[]} chart.lines
 * @param {string} chart.unit
 * @param {() => [number, number]} chart.span  seconds; the time axis shows exactly this, data or not
 * @param {() => [number|null, number|null]} chart.extent  least and greatest of what is drawn
 * @param {object} chart.theme
 * @param {(timeS: number) => Date} chart.toDate  a Date whose local fields read as the wanted zone
 */
export function chartOptions({
  width,
  height,
  lines,
  unit,
  span,
  extent,
  theme,
  zeroBased = false,
  top = null,
  hooks = {},
  toDate,
  compact = false,
  mirrored = false,
}) {
  const axis = { stroke: theme.axis, font: theme.font, grid: { stroke: theme.grid, width: 1 }, ticks: { show: false } };
  const binary = unit === "bytes" || unit === "bytes_per_s";
  return {
    width,
    height,
    padding: [8, compact ? 4 : 12, 0, 0],
    legend: { show: false },
    drawOrder: ["axes"], // lines are drawn by layers.js
    focus: { alpha: 1 }, // who stands out, too: nothing is drawn anew for it
    cursor: {
      x: true,
      y: false,
      points: {
        one: lines.length > LAYER_LINES,
        size: 7,
        width: 2,
        stroke: (plot, index) => plot.series[index].stroke(plot, index),
        fill: () => theme.surface,
      },
      drag: { x: true, y: false, setScale: false },
      focus: { prox: 24 },
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: () => span() },
      y: { range: () => valueRange(...extent(), { zeroBased, top }) },
    },
    axes: [
      {
        ...axis,
        space: 72,
        size: 26,
        gap: 4,
        grid: { show: false },
        values: (_, splits, __, ___, increment) => timeTicks(splits, increment, toDate),
      },
      {
        ...axis,
        space: compact ? 28 : 34,
        gap: 6,
        size: (_, labels) => axisWidth(labels),
        values: (_, splits) => axisTexts(mirrored ? splits.map(Math.abs) : splits, unit),
        ...(binary
          ? { splits: (plot, __, min, max) => binarySplits(min, max, Math.max(2, Math.floor(plot.height / 50))) }
          : {}),
      },
    ],
    series: [{}, ...lines.map(({ name, color }) => ({ label: name, stroke: color, points: { show: false } }))],
    hooks,
    tzDate: toDate,
  };
}

const pad = (number) => String(number).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * Tick texts of the time axis: seconds only where ticks are closer than a minute, the day where it changes or steps
 * are days.
 */
export function timeTicks(splits, increment, toDate) {
  let lastDay = null;
  return splits.map((time) => {
    const date = toDate(time);
    const day = `${date.getDate()} ${MONTHS[date.getMonth()]}`;
    const changed = lastDay !== null && day !== lastDay;
    lastDay = day;
    if (increment >= 86_400) return day;
    const seconds = increment < 60 ? `:${pad(date.getSeconds())}` : "";
    const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}${seconds}`;
    return changed || clock === "00:00" ? day : clock;
  });
}
