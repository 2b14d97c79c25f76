/** A line's colour and dash, small. */

import { el } from "../dom.js";

/** @param {{color: string, dash?: number[]|null}} line */
export function swatchOf({ color, dash }) {
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
  if (dash) {
    const [drawn, gap] = dash.slice(0, 2).map((length) => Math.min(length, 4));
    const stops = `${color} 0 ${drawn}px, transparent ${drawn}px ${drawn + gap}px`;
    swatch.style.background = `repeating-linear-gradient(90deg, ${stops})`;
  } else swatch.style.background = color;
  return swatch;
}
