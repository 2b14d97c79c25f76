/** A QR code from the SVG text that ubs sends: of the text only its drawing is taken, into elements of our own. */

import { svg } from "../dom.js";

/** @param {string} text an SVG whose first path is the white square, whose second one draws the dark modules */
export function qr(text, label) {
  const [square, modules] = [...text.matchAll(/\bd="([\d\w .-]+)"/g)].map(([, d]) => d);
  const side = /h([\d.]+)/.exec(square)[1];
  return svg("svg", { viewBox: `0 0 ${side} ${side}`, class: "qr", role: "img", "aria-label": label }, [
    svg("path", { d: square, fill: "#fff" }),
    svg("path", { d: modules, stroke: "#000" }),
  ]);
}
