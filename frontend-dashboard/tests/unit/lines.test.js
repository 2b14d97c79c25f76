import { Frames } from "../../src/charts/layers.js";
import { LAYER_LINES, drawLines, layersOf, placesOf, stretchesOf } from "../../src/charts/lines.js";
import { equal, ok, test } from "./harness.js";

/** A canvas that writes down what is drawn on it. */
function paper() {
  const drawn = [];
  const note =
    (name) =>
    (...values) =>
      drawn.push([name, ...values]);
  const names = ["save", "restore", "beginPath", "rect", "clip", "moveTo", "lineTo", "arc", "fill", "stroke"];
  return { drawn, setLineDash: () => {}, ...Object.fromEntries(names.map((name) => [name, note(name)])) };
}

const plot = {
  bbox: { left: 10, top: 0, width: 100, height: 50 },
  scales: { x: { min: 0, max: 10 }, y: { min: 0, max: 5 } },
};
const TIMES = [0, 5, 10];

function drawing(model, numbers, focused = -1) {
  const context = paper();
  const alphas = [];
  Object.defineProperty(context, "globalAlpha", {
    set(alpha) {
      alphas.push(alpha);
    },
  });
  drawLines(context, placesOf(plot, TIMES), model, { numbers, focused, ratio: 1 });
  const of = (...names) => context.drawn.filter(([name]) => names.includes(name));
  return { alphas, of };
}

test("No layer has more lines than a frame can draw, and together they have all of them, in order.", () => {
  for (const count of [0, 1, LAYER_LINES, LAYER_LINES + 1, 100]) {
    const layers = layersOf(count);
    ok(layers.every((numbers) => numbers.length <= LAYER_LINES));
    equal(
      layers.flat(),
      Array.from({ length: count }, (_, number) => number),
    );
  }
});

test("A frame has one job; new jobs replace what is left of the old.", () => {
  const frames = [];
  const done = [];
  const jobs = (...names) => names.map((name) => () => done.push(name));
  const queue = new Frames((next) => frames.push(next));
  const frame = () => frames.shift()();
  queue.run(jobs("a1", "a2", "a3"));
  equal(done, []);
  frame();
  equal(done, ["a1"]);
  queue.run(jobs("b1", "b2"));
  equal(frames.length, 1);
  frame();
  frame();
  equal(done, ["a1", "b1", "b2"]);
  equal(frames.length, 0);
});

test("A gap breaks a line; a sample alone between gaps is drawn as a point.", () => {
  equal(stretchesOf([1, null, 2, null, 3, 4]), [
    [0, 0],
    [2, 2],
    [4, 5],
  ]);
  equal(stretchesOf([]), []);
  const { of } = drawing({ lines: [{ color: "red" }], columns: [[1, null, 3]] }, [0]);
  equal(of("lineTo"), []);
  equal(
    of("arc").map(([, x, y]) => [x, y]),
    [
      [10, 40],
      [110, 20],
    ],
  );
});

test("A line goes through its points, and its steps' least and greatest stand upright on it.", () => {
  const { of } = drawing(
    { lines: [{ color: "red" }], columns: [[1, 2, 3]], bounds: [{ lows: [1, 0, null], highs: [1, 5, null] }] },
    [0],
  );
  equal(of("moveTo", "lineTo"), [
    ["moveTo", 10, 40],
    ["lineTo", 60, 30],
    ["lineTo", 110, 20],
    ["moveTo", 60, 50],
    ["lineTo", 60, 0],
  ]);
});

test("A band is filled down to its lower line, only where both are there.", () => {
  const model = {
    lines: [
      { color: "red", width: 0 },
      { color: "red", width: 0 },
    ],
    columns: [
      [4, 4, null],
      [1, 2, 2],
    ],
    bands: [{ series: [1, 2], fill: "pink" }],
  };
  const { of } = drawing(model, [0, 1]);
  equal(of("moveTo", "lineTo"), [
    ["moveTo", 10, 10],
    ["lineTo", 60, 10],
    ["lineTo", 60, 30],
    ["lineTo", 10, 40],
  ]);
});

test("Where one line stands out, the others step back.", () => {
  const model = { lines: [{ color: "red" }, { color: "blue" }], columns: [TIMES, TIMES] };
  equal(drawing(model, [0, 1]).alphas, [1, 1]);
  const [other, focused] = drawing(model, [0, 1], 1).alphas;
  ok(other < 1 && focused === 1);
});
