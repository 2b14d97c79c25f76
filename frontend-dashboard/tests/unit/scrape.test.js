import { ScrapeIntervals, configured, selectorsOf } from "../../src/state/scrape.js";
import { interpolate } from "../../src/state/sampling.js";
import { equal, ok, test } from "./harness.js";

const NOW = 1_000_000_000;
const RATE = 'sum(rate(x_total{a="b}"}[$__rate_interval]))';

/** Intervals learnt from sources that send every `seconds`. */
function intervals(secondsOf) {
  const asked = [];
  const ask = async (query) => {
    asked.push(query);
    const seconds = secondsOf(query);
    return seconds === null ? [] : [{ value: seconds }];
  };
  return { learnt: new ScrapeIntervals(ask), asked };
}

test("An interval of 60 s is learnt from the samples, and rates get windows that hold four of them.", async () => {
  const { learnt, asked } = intervals(() => 60.04);
  const scrapeS = await learnt.of(RATE, NOW);
  equal(scrapeS, 60);
  ok(asked[0].includes('timestamp(x_total{a="b}"})[10m:5s]'), asked[0]);
  equal(interpolate("rate(x[$__rate_interval])", { fromMs: 0, toMs: 1 }, 5, scrapeS), "rate(x[240s])");
});

test("The slowest selector of a query decides; a source that is scraped rarely is found in two hours.", async () => {
  const { learnt } = intervals((query) => (query.includes("slow") ? 60 : 5));
  equal(await learnt.of("rate(fast[$__rate_interval]) / rate(slow[$__rate_interval])", NOW), 60);
  const rare = intervals((query) => (query.includes("[2h:1m]") ? 900 : null));
  equal(await rare.learnt.of("m", NOW), 900);
});

test("What was learnt is asked for once in five minutes, and forgotten with the session.", async () => {
  const { learnt, asked } = intervals(() => 15);
  await Promise.all([learnt.of(RATE, NOW), learnt.of(RATE, NOW), learnt.of(RATE, NOW, NOW + 200_000)]);
  equal(asked.length, 1);
  await learnt.of(RATE, NOW, NOW + 301_000);
  equal(asked.length, 2);
  learnt.forget();
  await learnt.of(RATE, NOW, NOW + 301_000);
  equal(asked.length, 3);
});

test("What cannot be learnt is guessed, and a failure of asking is no failure of the panel.", async () => {
  equal(await intervals(() => null).learnt.of(RATE, NOW), 15);
  const failing = new ScrapeIntervals(() => Promise.reject(new Error("down")));
  equal(await failing.of(RATE, NOW), 15);
});

test("Windows that somebody wrote are left to them; a selector alone is itself.", () => {
  equal(selectorsOf("rate(x[5m])"), []);
  equal(selectorsOf(" up "), ["up"]);
  equal(selectorsOf('increase({"a.b"}[$__rate_interval]) + rate(y[${__rate_interval}])'), ['{"a.b"}', "y"]);
  equal([4.9, 5.2, 14, 61, 70, 4000].map(configured), [5, 5, 15, 60, 120, 4000]);
});
