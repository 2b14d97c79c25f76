/** The colours of charts: the same tokens the page wears, read once a theme. */

import { themeEvents } from "../state/theme.js";

export const PALETTE_SIZE = 10;
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
