import { equal, ok, test } from "./harness.js";

const APART_MIN = 0.1; // OKLab; 0.02 is just noticeable side by side
const CONTRAST_MIN = 3; // WCAG 1.4.11
/** Linear RGB as it is seen without one kind of cone; Machado, Oliveira and Fernandes 2009, severity 1. */
const EYES = {
  trichromat: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanope: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranope: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanope: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};
const OKLAB_CONES = [
  [0.4122214708, 0.5363325363, 0.0514459929],
  [0.2119034982, 0.6806995451, 0.1073969566],
  [0.0883024619, 0.2817188376, 0.6299787005],
];
const OKLAB = [
  [0.2104542553, 0.793617785, -0.0040720468],
  [1.9779984951, -2.428592205, 0.4505937099],
  [0.0259040371, 0.7827717662, -0.808675766],
];

const times = (matrix, vector) => matrix.map((row) => row.reduce((sum, factor, at) => sum + factor * vector[at], 0));
const linear = (hex) =>
  [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
const oklab = (rgb) => times(OKLAB, times(OKLAB_CONES, rgb).map(Math.cbrt));
const seen = (hex, eye) => oklab(times(EYES[eye], linear(hex)).map((part) => Math.min(1, Math.max(0, part))));
const luminance = (hex) => times([[0.2126, 0.7152, 0.0722]], linear(hex))[0];

/** The tokens of both themes, as the style sheet has them. */
async function themes() {
  const css = await (await fetch(new URL("../../src/styles/tokens.css", import.meta.url))).text();
  return css
    .split("@media")[0]
    .split(":root[data-theme")
    .map((theme) => ({
      surface: /--surface-1: (#\w{6})/.exec(theme)[1],
      series: [...theme.matchAll(/--series-\d+: (#\w{6})/g)].map((match) => match[1]),
    }));
}

test("Any two colours of a palette differ to every kind of eye, in both themes.", async () => {
  for (const { series } of await themes()) {
    equal(series.length, 8);
    for (const eye of Object.keys(EYES))
      series.forEach((one, at) => {
        for (const other of series.slice(at + 1)) {
          const apart = Math.hypot(...seen(one, eye).map((part, index) => part - seen(other, eye)[index]));
          ok(apart >= APART_MIN, `${one} and ${other} are ${apart.toFixed(3)} apart to a ${eye}`);
        }
      });
  }
});

test("Every colour of a palette stands out from the ground of a chart.", async () => {
  for (const { series, surface } of await themes())
    for (const color of series) {
      const [dark, light] = [luminance(color), luminance(surface)].sort((a, b) => a - b);
      ok((light + 0.05) / (dark + 0.05) >= CONTRAST_MIN, `${color} on ${surface}`);
    }
});
