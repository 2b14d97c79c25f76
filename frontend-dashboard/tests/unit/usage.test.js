import { barsOf, measureOf, metersOf, monthOf } from "../../src/state/usage.js";
import { equal, test } from "./harness.js";

const NOW = Date.UTC(2026, 1, 3, 12);
const day = (number) => new Date(Date.UTC(2026, 1, number)).toISOString();
const bucket = (number, meter, sum, p95 = null) => ({ start: day(number), meter, sum, max: "7", mean: "5", p95 });

test("a month is that of UTC, and the one before it", () => {
  equal(monthOf(NOW), { startMs: Date.UTC(2026, 1), endMs: Date.UTC(2026, 2) });
  equal(monthOf(Date.UTC(2026, 0, 31), 1), { startMs: Date.UTC(2025, 11), endMs: Date.UTC(2026, 0) });
});

test("every day has a bar, and days to come have no value", () => {
  const bars = barsOf([bucket(1, "samples", "30"), bucket(3, "samples", "60")], "samples", monthOf(NOW), NOW);
  equal(bars.length, 28);
  equal(
    bars.slice(0, 4).map(({ value, share }) => [value, share]),
    [
      [30, 0.5],
      [0, 0],
      [60, 1],
      [null, 0],
    ],
  );
});

test("a month without usage is flat", () => {
  equal(
    barsOf([], "samples", monthOf(NOW), NOW).every(({ share }) => share === 0),
    true,
  );
});

test("series are their 95th percentile, and their largest number without one", () => {
  equal(measureOf("active_series"), "p95");
  const [first, second] = barsOf(
    [bucket(1, "active_series", "99", "3"), bucket(2, "active_series", "99")],
    "active_series",
    monthOf(NOW),
    NOW,
  );
  equal([first.value, second.value], [3, 7]);
});

test("the hub's meters come first, then one's own by name", () => {
  const of = (meter) => bucket(1, meter, "1");
  equal(metersOf(["zebra", "stored_bytes", "apples", "samples", "samples"].map(of)), [
    "samples",
    "stored_bytes",
    "apples",
    "zebra",
  ]);
});
