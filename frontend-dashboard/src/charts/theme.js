/** The colours of charts: the same tokens the page wears, read once a theme. */

import { SeriesStyles } from "../state/series_style.js";
import { themeEvents } from "../state/theme.js";

const PALETTE_SIZE = 10;
/** The styles of all charts of the page. */
export const seriesStyles = new SeriesStyles(PALETTE_SIZE);
let cached = null;
themeEvents.addEventListener("change", () => {
  cached = null;
});

/**
 * @returns {{series: string[], axis: string, grid: string, surface: string, cursor: string, bad: string, warn:
 * string, band: string, font: string}}
 */
export function chartTheme() {
  if (cached) return cached;
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(name).trim();
  cached = {
    series: Array.from({ length: PALETTE_SIZE }, (_, index) => token(`--series-${index + 1}`)),
    axis: token("--ink-3"),
    grid: token("--chart-grid"),
    surface: token("--surface-1"),
    cursor: token("--ink-3"),
    bad: token("--bad"),
    badWash: token("--bad-wash"),
    band: token("--chart-band"),
    font: `11px ${token("--font-ui")}`,
  };
  return cached;
}
