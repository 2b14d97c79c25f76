/** The lines of a chart: strokes, fills, and the least and greatest of each step as upright strokes. Pure: the canvas
 * comes in. */

/** Lines that are drawn at once: a hundred of them in one go would hold the page up for longer than a frame or two. */
export const LAYER_LINES = 25;
const DIMMED = 0.25;
const LONE_RADIUS = 2.5;

/** The numbers of `count` lines, in layers. */
export function layersOf(count) {
  const numbers = Array.from({ length: count }, (_, line) => line);
  return Array.from({ length: Math.ceil(count / LAYER_LINES) }, (_, layer) =>
    numbers.slice(layer * LAYER_LINES, (layer + 1) * LAYER_LINES),
  );
}

const isThere = (value) => value !== null && value !== undefined;

/** First and last index of each stretch without a gap, of `values` and `also`; a sample alone is both. */
export function stretchesOf(values, also = values) {
  const stretches = [];
  let first = -1;
  for (let index = 0; index <= values.length; index += 1) {
    const drawn = index < values.length && isThere(values[index]) && isThere(also[index]);
    if (drawn && first < 0) first = index;
    if (!drawn && first >= 0) {
      stretches.push([first, index - 1]);
      first = -1;
    }
  }
  return stretches;
}

/** The least and greatest of what is drawn, points and strokes; nulls where nothing is. */
export function extentOf(columns, bounds) {
  let [min, max] = [Infinity, -Infinity];
  const take = (values) => {
    for (const value of values ?? []) {
      if (!isThere(value)) continue;
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
  };
  columns.forEach(take);
  for (const one of bounds) {
    take(one?.lows);
    take(one?.highs);
  }
  return min <= max ? [min, max] : [null, null];
}

/**
 * Where moments and values are on the canvas of a plot.
 * @param {{bbox: {left: number, top: number, width: number, height: number}, scales: object}} plot
 * @returns {{box: object, xs: number[], y: (value: number) => number}}
 */
export function placesOf({ bbox, scales: { x, y } }, times) {
  const perSecond = bbox.width / (x.max - x.min);
  const perUnit = bbox.height / (y.max - y.min);
  return {
    box: bbox,
    xs: times.map((time) => bbox.left + (time - x.min) * perSecond),
    y: (value) => bbox.top + (y.max - value) * perUnit,
  };
}

/**
 * Draws the lines of these numbers; where `focused` is one of all lines, the others step back.
 * @param {CanvasRenderingContext2D} context
 * @param {import("../elements/chart.js").ChartModel} model
 * @param {{numbers: number[], focused?: number, ratio: number}} how ratio: canvas pixels of a CSS pixel
 */
export function drawLines(context, places, model, { numbers, focused = -1, ratio }) {
  const { box } = places;
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  context.lineJoin = "round";
  for (const number of numbers) {
    context.globalAlpha = focused < 0 || focused === number ? 1 : DIMMED;
    fillLine(context, places, model, number);
    strokeLine(context, places, model, number, ratio);
  }
  context.restore();
}

/** The ground below a line: down to zero, or to the lower line of its band. */
function fillLine(context, { xs, y }, { lines, columns, bands = [] }, number) {
  const band = bands.find(({ series: [upper] }) => upper === number + 1);
  const color = band?.fill ?? lines[number].fill;
  if (!color) return;
  const values = columns[number];
  const floor = band ? columns[band.series[1] - 1] : values.map(() => 0);
  context.fillStyle = color;
  context.beginPath();
  for (const [first, last] of stretchesOf(values, floor)) {
    context.moveTo(xs[first], y(values[first]));
    for (let at = first + 1; at <= last; at += 1) context.lineTo(xs[at], y(values[at]));
    for (let at = last; at >= first; at -= 1) context.lineTo(xs[at], y(floor[at]));
  }
  context.fill();
}

function strokeLine(context, { xs, y }, { lines, columns, bounds }, number, ratio) {
  const { color, width = 1.5, dash } = lines[number];
  if (width === 0) return;
  const values = columns[number];
  const { lows, highs } = bounds?.[number] ?? {};
  context.strokeStyle = color;
  context.fillStyle = color;
  context.lineWidth = width * ratio;
  context.setLineDash((dash ?? []).map((length) => length * ratio));
  context.beginPath();
  const alone = [];
  for (const [first, last] of stretchesOf(values)) {
    if (first === last) alone.push(first);
    context.moveTo(xs[first], y(values[first]));
    for (let at = first + 1; at <= last; at += 1) context.lineTo(xs[at], y(values[at]));
  }
  if (lows && highs)
    for (let at = 0; at < lows.length; at += 1)
      if (isThere(lows[at]) && isThere(highs[at]) && lows[at] !== highs[at]) {
        context.moveTo(xs[at], y(lows[at]));
        context.lineTo(xs[at], y(highs[at]));
      }
  context.stroke();
  for (const at of alone) {
    context.beginPath();
    context.arc(xs[at], y(values[at]), LONE_RADIUS * ratio, 0, 2 * Math.PI);
    context.fill();
  }
}
