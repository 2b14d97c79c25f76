import { extentOf } from "../../src/charts/lines.js";
import { valueRange } from "../../src/charts/options.js";
import { ROWS_A_STEP } from "../../src/api/matrix.js";
import { drawnOf, greatest, infinities, isSame, isStackable, seriesInSteps, seriesOf } from "../../src/state/series.js";
import { rowsOf } from "../../src/state/table_rows.js";
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

test("Of many series the greatest hundred are drawn, in their order.", () => {
  const many = Array.from({ length: 500 }, (_, index) => ({ values: [index, null], highs: null }));
  const drawn = greatest(many);
  equal([drawn.length, drawn[0].values[0], drawn.at(-1).values[0]], [100, 400, 499]);
  equal(greatest(many.slice(0, 100)).length, 100);
});

test("A table tells what the chart tells, newest first, and what it leaves out.", () => {
  const one = { values: [1, null, 3], lows: [1, null, 2], highs: [1, 7, 9] };
  equal(rowsOf({ times: [0, 10, 20], series: [one] }, ["a"], "none"), {
    head: ["a"],
    rows: [
      { timeS: 20, cells: ["3 (2 – 9)"] },
      { timeS: 10, cells: ["– (– – 7)"] },
      { timeS: 0, cells: ["1"] },
    ],
    more: "",
  });
  const long = {
    times: Array.from({ length: 200 }, (_, at) => at),
    series: Array.from({ length: 14 }, () => ({ values: new Array(200).fill(1) })),
  };
  equal(rowsOf(long, new Array(14).fill("x"), "none").more, "Not shown here: 2 more series and 80 earlier moments.");
});

test("Between two pauses at most so many series are worked on, and the pauses change nothing.", () => {
  let touched = 0;
  const counted = (number) => ({
    get metric() {
      touched += 1;
      return { n: String(number) };
    },
    values: [[0, "1"]],
  });
  const result = Array.from({ length: 1050 }, (_, number) => counted(number));
  const data = { resultType: "matrix", result };
  const steps = seriesInSteps([{ query: "x" }], [{ data }], POINTS);
  let [before, done, value] = [0, false, null];
  while (!done) {
    ({ done, value } = steps.next());
    ok(touched - before <= ROWS_A_STEP, `${touched - before} series at once`);
    before = touched;
  }
  equal(value, seriesOf([{ query: "x" }], [{ data }], POINTS));
  equal(value.length, 1050);
});

test("Two answers are the same when every series, value and bound is.", () => {
  const of = (...rows) => seriesOf([{ query: "x" }], [{ data: answer(...rows) }], POINTS);
  const between = (low) => {
    const [data, lows, highs] = [
      [up, 2],
      [up, low],
      [up, 3],
    ].map((row) => answer(row));
    return seriesOf([{ query: "x" }], [{ data, low: lows, high: highs }], POINTS);
  };
  ok(isSame(of([up, 1, null, 3]), of([up, 1, null, 3])));
  ok(!isSame(of([up, 1, null, 3]), of([up, 1, 2, 3])));
  ok(!isSame(of([up, 1]), of([up, 1], [{ job: "b" }, 1])));
  ok(!isSame(of([up, 1]), of([{ job: "b" }, 1])));
  ok(isSame(between(1), between(1)));
  ok(!isSame(between(1), between(0)));
  ok(!isSame(between(1), of([up, 2])));
});
