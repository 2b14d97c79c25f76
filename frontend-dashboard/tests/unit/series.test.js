import { extentOf } from "../../src/charts/envelope.js";
import { valueRange } from "../../src/charts/options.js";
import { drawnOf, infinities, isStackable, seriesOf } from "../../src/state/series.js";
import { equal, ok, test } from "./harness.js";

const POINTS = { start: 0, end: 20, step: 10 };
const answer = (...rows) => ({
  resultType: "matrix",
  result: rows.map(([metric, ...values]) => ({
    metric,
    values: values.flatMap((value, index) => (value === null ? [] : [[index * 10, String(value)]])),
  })),
});
const up = { __name__: "up", job: "a" };

test("A spike between two points is drawn, told and on the axis.", () => {
  const data = answer([up, 1, 1, 1]);
  const [one] = seriesOf(
    [{ query: "up" }],
    [{ data, low: answer([{ job: "a" }, 1, 1, 1]), high: answer([{ job: "a" }, 1, 100, 1]) }],
    POINTS,
  );
  equal(
    [one.values, one.highs],
    [
      [1, 1, 1],
      [1, 100, 1],
    ],
  );
  const drawing = drawnOf(one);
  equal(extentOf([drawing.drawn], [drawing]), [1, 100]);
});

test("A series that lived between two points only is there, at its greatest.", () => {
  const between = answer([{ job: "b" }, null, 7, null]);
  const [one] = seriesOf([{ query: "up" }], [{ data: answer(), low: between, high: between }], POINTS);
  equal([one.labels, one.values], [{ job: "b" }, [null, null, null]]);
  equal(drawnOf(one).drawn, [null, 7, null]);
});

test("One infinite value does not empty a chart: it is left out of the drawing, told, and counted.", () => {
  const [one] = seriesOf([{ query: "x" }], [{ data: answer([up, 1, "+Inf", 3]) }], POINTS);
  equal(one.values, [1, Infinity, 3]);
  equal(drawnOf(one).drawn, [1, null, 3]);
  equal(infinities([one]), 1);
  const extent = extentOf([drawnOf(one).drawn], [drawnOf(one)]);
  equal(extent, [1, 3]);
  ok(valueRange(...extent)[1] > 3);
});

test("What is drawn below zero has its least and greatest there too.", () => {
  const { drawn, lows, highs } = drawnOf({ values: [1, null], lows: [0, null], highs: [5, null], negate: true });
  equal(
    [drawn, lows, highs],
    [
      [-1, null],
      [-5, null],
      [0, null],
    ],
  );
});

test("Only a sum that means something is stacked.", () => {
  ok(isStackable([{ values: [0, 1, null], highs: null }]));
  ok(!isStackable([{ values: [0, -1], highs: null }]));
  ok(!isStackable([{ values: [0, Infinity], highs: null }]));
  ok(!isStackable([{ values: [0, 1], highs: [1, 2] }]));
});
