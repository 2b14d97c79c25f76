/** The colours of charts: the same tokens the page wears, read once a theme. */

import { SeriesStyles } from "../state/series_style.js";
import { themeEvents } from "../state/theme.js";

const PALETTE_SIZE = 8;
const STYLES = "coh-series-styles";

/** The styles of all charts of the page; a reload finds them again. */
export const seriesStyles = new SeriesStyles(PALETTE_SIZE, {
  kept: keptStyles(),
  save: (kept) => {
    try {
      sessionStorage.setItem(STYLES, JSON.stringify(kept));
    } catch {
      // they hold while the page lives
    }
  },
});

function keptStyles() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(STYLES) ?? "[]");
    return Array.isArray(kept) ? kept.filter(Array.isArray) : [];
  } catch {
    return [];
  }
}

const forcedColors = matchMedia("(forced-colors: active)");
let cached = null;
themeEvents.addEventListener("change", () => {
  cached = null;
});
forcedColors.addEventListener("change", () => themeEvents.dispatchEvent(new Event("change")));

/**
 * `forced`: the person's own colours are in force, and all series have the same one.
 * @returns {{forced: boolean, series: string[], axis: string, grid: string, surface: string, cursor: string,
 * bad: string, badWash: string, band: string, font: string}}
 */
export function chartTheme() {
  if (cached) return cached;
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(name).trim();
  cached = {
    forced: forcedColors.matches,
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
