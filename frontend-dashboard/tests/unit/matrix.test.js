import { parseValue, stack, summary, toCsv, toTable, toVector } from "../../src/api/matrix.js";
import { firstSampleBase64, snappyLiterals } from "../../src/api/remote_write.js";
import { timeTicks, valueRange, withAlpha } from "../../src/charts/options.js";
import { sparkPath } from "../../src/elements/stat_tile.js";
import { progressWords, stepChoices } from "../../src/state/jobs.js";
import { curlSnippet, prometheusSnippet, telegrafSnippet } from "../../src/state/snippets.js";
import { equal, ok, test } from "./harness.js";

const GRID = { start: 100, end: 140, step: 10 };
const matrix = (...rows) => ({
  resultType: "matrix",
  result: rows.map((values, n) => ({ metric: { n: String(n) }, values })),
});

test("A step without a sample is null: a gap stays a gap.", () => {
  const { times, series } = toTable(
    matrix([
      [100, "1"],
      [130, "4"],
      [140, "5"],
    ]),
    GRID,
  );
  equal(times, [100, 110, 120, 130, 140]);
  equal(series[0].values, [1, null, null, 4, 5]);
});

test("NaN draws as a gap, infinities are kept as themselves, samples off the grid are dropped.", () => {
  equal(
    toTable(
      matrix([
        [100, "NaN"],
        [110, "+Inf"],
        [120, "-Inf"],
        [500, "1"],
      ]),
      GRID,
    ).series[0].values,
    [null, Infinity, -Infinity, null, null],
  );
  equal(["1e-3", "-0", "Inf"].map(parseValue), [0.001, -0, Infinity]);
});

test("Sub-second steps and float times land on their points.", () => {
  const table = toTable(matrix([[0.1 + 0.2, "1"]]), { start: 0, end: 1, step: 0.1 });
  equal(table.times.length, 11);
  equal(table.series[0].values[3], 1);
});

test("Vectors and scalars read alike.", () => {
  equal(toVector({ resultType: "scalar", result: [4, "2"] }), [{ labels: {}, value: 2, time: 4 }]);
  equal(toVector({ resultType: "vector", result: [{ metric: { a: "b" }, value: [1, "3"] }] }), [
    { labels: { a: "b" }, value: 3, time: 1 },
  ]);
});

test("A summary counts only what is there.", () => {
  equal(summary([null, 2, 4, null]), { last: 4, min: 2, max: 4, mean: 3, count: 2 });
  equal(summary([null]), { last: null, min: null, max: null, mean: null, count: 0 });
});

test("Least, greatest and mean are those of all samples where a point stands for many.", () => {
  const { last, min, max, mean } = summary([1, 1, null], { lows: [0, 1, 1], highs: [1, 100, 1], means: [1, 7, 1] });
  equal([last, min, max, mean], [1, 0, 100, 3]);
});

test("Stacked columns add up, a hole in one adds nothing, a hole in all stays.", () => {
  equal(
    stack([
      [1, 1, null],
      [2, null, null],
    ]),
    [
      [1, 1, null],
      [3, 1, null],
    ],
  );
  equal(stack([]), []);
});

test("CSV quotes what must be quoted and leaves gaps empty.", () => {
  equal(
    toCsv({ times: [0, 60], series: [{ values: [1, null] }] }, ['a,"b"']),
    'time,"a,""b"""\r\n1970-01-01T00:00:00.000Z,1\r\n1970-01-01T00:01:00.000Z,\r\n',
  );
});

test("CSV has the least and the greatest where a point stands for many samples.", () => {
  equal(
    toCsv({ times: [0], series: [{ values: [1], lows: [0], highs: [9] }] }, ["a"]),
    "time,a,a min,a max\r\n1970-01-01T00:00:00.000Z,1,0,9\r\n",
  );
});

test("Rounding of floats does not fill the axis.", () => {
  equal(valueRange(0.3, 0.1 + 0.2), valueRange(0.3, 0.3));
  equal(valueRange(-1e-17, 2e-17), valueRange(0, 0));
  const [low, high] = valueRange(1000, 1000.001);
  ok(high - low < 0.01);
});

test("The value axis begins at zero unless the values are far from it.", () => {
  equal(valueRange(2, 10)[0], 0);
  ok(valueRange(95, 100)[0] > 90);
  equal(valueRange(null, null), [0, 1]);
  equal(valueRange(0, 0), [0, 1.08]);
  equal(valueRange(0.2, 0.99, { top: 1 })[1], 1);
  const [low, high] = valueRange(-5, -5);
  ok(low < -5 && high > -5);
});

test("Axis texts tell the day where it changes and seconds only when ticks are that close.", () => {
  const day = new Date(2026, 10, 22, 23, 30).getTime() / 1000;
  const toDate = (time) => new Date(time * 1000);
  equal(timeTicks([day, day + 1800, day + 3600], 1800, toDate), ["23:30", "23 Nov", "00:30"]);
  equal(timeTicks([day], 15, toDate), ["23:30:00"]);
  equal(timeTicks([day], 86_400, toDate), ["22 Nov"]);
  equal([withAlpha("#0d8c80", 0.5), withAlpha("CanvasText", 0.5)], ["#0d8c8080", "transparent"]);
});

test("A sparkline breaks at gaps and stays inside of its box.", () => {
  equal(sparkPath([0, null, 2], 1, 100, 28), "M0.0 26.5M100.0 1.5");
  equal(sparkPath([0, Infinity, 2], 1, 100, 28), "M0.0 26.5M100.0 1.5");
});

test("A job says what it is doing.", () => {
  equal(progressWords({ state: "queued" }), "Waiting for a worker");
  equal(
    progressWords({ state: "running", progress: { done: 0.5, total: 2, message: "read", eta_s: 61 } }),
    "read · 25 % · about 1 min 1 s left",
  );
});

test("Steps offered keep a range within the API's points.", () => {
  for (const hours of [1, 24, 24 * 90]) {
    const { choices, best } = stepChoices({ fromMs: 0, toMs: hours * 3_600_000 });
    ok(choices.includes(best));
    ok(
      choices.every((step) => (hours * 3600) / step <= 11_000),
      `${hours} h`,
    );
  }
});

test("The first sample's request is the bytes that the protocol asks for.", () => {
  const raw = atob(firstSampleBase64({ __name__: "m", a: "b" }, 1, 300));
  const bytes = [...raw].map((char) => char.charCodeAt(0));
  // the length, one literal of all 39 bytes, then WriteRequest
  equal(bytes.slice(0, 2), [39, (39 - 1) << 2]);
  equal(bytes.slice(2), [
    0x0a,
    37,
    0x0a,
    13,
    0x0a,
    8,
    ...[..."__name__"].map((c) => c.charCodeAt(0)),
    0x12,
    1,
    109,
    0x0a,
    6,
    0x0a,
    1,
    97,
    0x12,
    1,
    98,
    0x12,
    12,
    0x09,
    0,
    0,
    0,
    0,
    0,
    0,
    0xf0,
    0x3f,
    0x10,
    0xac,
    0x02,
  ]);
});

test("Snappy literals hold every byte, however many.", () => {
  for (const length of [0, 1, 60, 61, 500]) {
    const block = snappyLiterals(Uint8Array.from({ length }, (_, n) => n % 251));
    const out = [];
    let at = length < 128 ? 1 : 2;
    while (at < block.length) {
      const run = (block[at] >> 2) + 1;
      out.push(...block.subarray(at + 1, at + 1 + run));
      at += 1 + run;
    }
    equal(
      out,
      Array.from({ length }, (_, n) => n % 251),
    );
  }
});

test("Snippets carry this origin and this key.", () => {
  for (const text of [
    prometheusSnippet("https://hub:8080", "K"),
    telegrafSnippet("https://hub:8080", "K"),
    curlSnippet("https://hub:8080", "K", 1),
  ]) {
    ok(text.includes("https://hub:8080/api/data-ingest-service/api/v1/write"));
    ok(/\bK\b/.test(text));
  }
});
