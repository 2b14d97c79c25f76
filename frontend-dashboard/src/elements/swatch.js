/** A line's colour and dash, small. */

import { el } from "../dom.js";

/** @param {{color: string, dash?: number[]|null}} line */
export function swatchOf({ color, dash }) {
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
  if (!dash) {
    swatch.style.background = color;
    return swatch;
  }
  let at = 0;
  const stops = dash.map((length, index) => {
    const stop = `${index % 2 === 0 ? color : "transparent"} ${at}px ${at + length}px`;
    at += length;
    return stop;
  });
  swatch.classList.add("dashed");
  swatch.style.background = `repeating-linear-gradient(90deg, ${stops.join(", ")})`;
  return swatch;
}
