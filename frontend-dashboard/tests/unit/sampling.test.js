import { extremes, grid, interpolate, plan, stepFor } from "../../src/state/sampling.js";
import { equal, ok, test } from "./harness.js";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 22, 14, 35, 23);

test("A step is a nice number, never more than 361 points.", () => {
  equal(stepFor({ fromMs: 0, toMs: HOUR }), 10);
  equal(stepFor({ fromMs: 0, toMs: 900_000 }), 5);
  equal(stepFor({ fromMs: 0, toMs: 1000 }), 1);
  for (const days of [1, 7, 30, 90, 3650]) {
    const span = { fromMs: 0, toMs: days * 24 * HOUR };
    ok((span.toMs - span.fromMs) / 1000 / stepFor(span) <= 361, `${days} days`);
  }
});

test("A step of five minutes or more is whole buckets of rollups, one of an hour or more whole hours.", () => {
  for (let hours = 1; hours < 40_000; hours += Math.ceil(hours / 9)) {
    const step = stepFor({ fromMs: 0, toMs: hours * HOUR });
    ok(step < 300 || step % 300 === 0, `${hours} h`);
    ok(step < 3600 || step % 3600 === 0, `${hours} h`);
  }
});

test("Points of the grid stay where they are as time goes on, and lie inside of the axis.", () => {
  for (const stepS of [1, 5, 15, 7200]) {
    for (let toMs = NOW; toMs < NOW + 20_000; toMs += 700) {
      const fromMs = toMs - 400 * stepS * 1000;
      const { start, end } = grid({ fromMs, toMs }, stepS, toMs);
      equal([start % stepS, end % stepS], [0, 0]);
      ok(start * 1000 >= fromMs && end * 1000 <= toMs, `${stepS} s at ${toMs}`);
    }
  }
});

test("No point lies in the future or in the seconds whose samples are still on their way.", () => {
  equal(grid({ fromMs: NOW - HOUR, toMs: NOW }, 5, NOW).end * 1000, Date.UTC(2026, 10, 22, 14, 35, 15));
  equal(grid({ fromMs: NOW - HOUR, toMs: NOW + HOUR }, 5, NOW).end * 1000, Date.UTC(2026, 10, 22, 14, 35, 15));
  equal(grid({ fromMs: NOW - 2 * HOUR, toMs: NOW - HOUR }, 5, NOW).end * 1000, Date.UTC(2026, 10, 22, 13, 35, 20));
  const { start, end } = grid({ fromMs: NOW, toMs: NOW + HOUR }, 60, NOW);
  ok(start === end && end * 1000 <= NOW);
});

test("Whoever asks one question over one span asks it of the same moments and windows.", () => {
  const span = { fromMs: NOW - HOUR, toMs: NOW };
  equal(plan("rate(x[$__rate_interval])", span, NOW), plan("rate(x[$__rate_interval])", span, NOW + 1500));
});

test("Rate windows cover at least four scrapes, steps and ranges are put in by name.", () => {
  const span = { fromMs: 0, toMs: HOUR };
  equal(interpolate("rate(x[$__rate_interval])", span, 5), "rate(x[60s])");
  equal(interpolate("rate(x[${__rate_interval}])", span, 300), "rate(x[315s])");
  equal(interpolate("x[$__rate_interval] / $__rate_interval_s", span, 5), "x[60s] / 60");
  equal(
    interpolate("max_over_time(x[$__range]) + avg_over_time(x[$__interval])", span, 10),
    "max_over_time(x[3600s]) + avg_over_time(x[10s])",
  );
});

test("Where a step is longer than a scrape, the least and greatest of all samples are asked for.", () => {
  const span = { fromMs: 0, toMs: 30 * 24 * HOUR };
  equal(extremes('up{job="a[b]"}', span, 7200).high, 'max_over_time(up{job="a[b]"}[7200s])');
  equal(extremes("up", span, 15), null);
  equal(extremes("rate(x[$__rate_interval])", span, 7200).low, "min_over_time((rate(x[135s]))[7200s:120s])");
  equal(extremes("a / b", span, 60).mean, "avg_over_time((a / b)[60s:15s])");
});

test("Looks at an expression leave nothing out: its windows are longer than the looks are apart.", () => {
  for (const stepS of [30, 300, 7200, 86_400])
    for (const scrapeS of [5, 15, 60]) {
      const asked = extremes("rate(x[$__rate_interval])", { fromMs: 0, toMs: HOUR }, stepS, scrapeS);
      if (asked) ok(Number(/x\[(\d+)s\]/.exec(asked.high)[1]) > asked.looksS, `${stepS} ${scrapeS}`);
    }
});
