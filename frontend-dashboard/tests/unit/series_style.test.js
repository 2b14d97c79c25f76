import { SeriesStyles } from "../../src/state/series_style.js";
import { seriesOf } from "../../src/state/series.js";
import { equal, ok, test } from "./harness.js";

const POINTS = { start: 0, end: 0, step: 10 };
const rows = (...metrics) => ({
  data: { resultType: "matrix", result: metrics.map((metric) => ({ metric, values: [[0, "1"]] })) },
});

test("A series keeps its colour whoever comes, goes or stands beside it, on every chart.", () => {
  const styles = new SeriesStyles(10);
  const [first] = styles.of(["das"]);
  equal(styles.of(["aps", "das", "dis"])[1], first);
  equal(styles.of(["ubs", "das"])[1], first);
});

test("Series of one chart differ in colour, and where colours end in their dash.", () => {
  const names = Array.from({ length: 40 }, (_, index) => `series ${index}`);
  const styled = new SeriesStyles(10).of(names);
  equal(new Set(styled.map((style) => JSON.stringify(style))).size, 40);
  ok(styled.slice(0, 10).every(({ dash }) => dash === null));
});

test("Where colours are all the same, series differ in their dash.", () => {
  const names = Array.from({ length: 8 }, (_, index) => `series ${index}`);
  const styled = new SeriesStyles(8).of(names, { alike: true });
  equal(new Set(styled.map(({ dash }) => JSON.stringify(dash))).size, 8);
});

test("A reload finds the colours again; what is no style is left out.", () => {
  let kept = [];
  const store = { save: (now) => (kept = now) };
  const before = new SeriesStyles(10, store).of(["ubs", "das", "dis"]);
  const after = new SeriesStyles(10, { kept: [...kept, ["x", "red"], ["y", 999]] });
  equal(
    after.of(["das", "x", "ubs", "y"]).filter((_, at) => at % 2 === 0),
    [before[1], before[0]],
  );
});

test("What was kept of one organisation is gone with its session.", () => {
  let kept = null;
  const styles = new SeriesStyles(10, { save: (now) => (kept = now) });
  styles.of(["acme"]);
  styles.forget();
  equal(kept, []);
});

test("What is kept is bounded.", () => {
  let most = 0;
  const styles = new SeriesStyles(10, { save: (kept) => (most = Math.max(most, kept.length)) });
  for (let index = 0; index < 50; index += 1) styles.of(Array.from({ length: 100 }, (_, at) => `${index} ${at}`));
  const [one] = styles.of(["das"]);
  ok(one.slot >= 0 && one.slot < 10 && most === 500, `${most}`);
});

test("One source is one identity in every chart, whatever its metric is and who else is there.", () => {
  const identities = (...metrics) => seriesOf([{}], [rows(...metrics)], POINTS).map(({ identity }) => identity);
  const [alone] = identities({ __name__: "requests", service: "das" });
  equal(identities({ service: "dis" }, { service: "das" })[1], alone);
  const [one, other] = identities({ __name__: "a", job: "x" }, { __name__: "b", job: "x" });
  ok(one !== other);
});
