import { healthRows, rowWords, stateOf, targetsOf, verdict } from "../../src/state/health.js";
import { liveness } from "../../src/state/page_range.js";
import { equal, ok, test } from "./harness.js";

const clock = (seconds) => `t${seconds}`;
const NOW = 100_000;
const at = (job, value, instance = "a") => ({ labels: { job, instance }, value });
const times = [NOW - 120, NOW - 60, NOW];
const bars = (rows) => ({
  times,
  series: Object.entries(rows).map(([job, values]) => ({ labels: { job }, values })),
});
const evidence = { answeredS: NOW, failed: false, refreshS: 5 };

/** Rows of sources that were seen `age` seconds ago and said `up` then. */
function rowsOf(sources, known = []) {
  const seen = sources.map(({ job, instance, age }) => at(job, NOW - age, instance));
  const up = sources.filter(({ age }) => age < 300).map(({ job, instance, value = 1 }) => at(job, value, instance));
  const intervals = sources.map(({ job, instance, intervalS = 5 }) => at(job, intervalS, instance));
  const table = bars(Object.fromEntries(sources.map(({ job }) => [job, [1, 1, 1]])));
  return healthRows(table, targetsOf({ up, seen: [], history: seen, intervals }), known, NOW);
}

test("A source whose key was revoked is told as silent with since, though its last sample said up.", () => {
  const [row] = rowsOf([{ job: "agent", age: 40 }]);
  equal([row.now, row.sinceS], ["silent", NOW - 40]);
  equal(verdict([row], evidence, NOW, clock), { state: "silent", words: `agent: silent since t${NOW - 40}` });
});

test("A silent source never vanishes: of the last day with its time, of the last week by its name.", () => {
  const rows = rowsOf([{ job: "yesterday", age: 80_000 }], ["last-week"]);
  equal(
    rows.map((row) => rowWords(row, clock)),
    ["Silent for over a day", `Silent since t${NOW - 80_000}`],
  );
});

test("One silent or fallen instance among many of a job is told.", () => {
  const [row] = rowsOf([
    { job: "web", instance: "a", age: 2 },
    { job: "web", instance: "b", age: 500 },
    { job: "web", instance: "c", age: 3, value: 0 },
  ]);
  equal([row.now, rowWords(row, clock)], ["part", `1 of 3 down, 1 of 3 silent since t${NOW - 500}`]);
  equal(verdict([row], evidence, NOW, clock).state, "down");
});

test("How long silence takes is a matter of the source's own interval.", () => {
  const target = { up: 1, seenS: NOW - 100 };
  equal(
    [5, 15, 60].map((intervalS) => stateOf({ ...target, intervalS }, NOW)),
    ["silent", "silent", "up"],
  );
});

test("Between two samples of a slow source its bars hold, after that they end.", () => {
  const series = bars({ slow: [1, null, null], fast: [1, null, null] });
  const targets = [
    { job: "slow", instance: "", up: 1, seenS: NOW - 110, intervalS: 60 },
    { job: "fast", instance: "", up: 1, seenS: NOW - 110, intervalS: 5 },
  ];
  const rows = healthRows(series, targets, [], NOW);
  equal(
    rows.map(({ states }) => states),
    [
      ["up", "none", "none"],
      ["up", "up", "up"],
    ],
  );
});

test("Health rows put the hub's own services first and tell what share of the seen time was up.", () => {
  const series = bars({ zzz: [1, 1, 1], "data-ingest-service": [null, 1, 0] });
  const targets = ["zzz", "data-ingest-service"].map((job) => ({ job, up: 1, seenS: NOW, intervalS: 5 }));
  equal(
    healthRows(series, targets, [], NOW).map(({ job, uptime, seen }) => [job, uptime, seen]),
    [
      ["data-ingest-service", 0.5, 2],
      ["zzz", 1, 3],
    ],
  );
});

test("Without a fresh answer nothing is claimed: not while offline, not when a refresh stays out.", () => {
  const rows = rowsOf([{ job: "web", age: 1 }]);
  equal(verdict(rows, evidence, NOW, clock), { state: "up", words: "Everything is up" });
  equal(verdict(rows, { ...evidence, failed: true }, NOW + 1, clock), {
    state: "none",
    words: `Not known since t${NOW}`,
  });
  equal(verdict(rows, evidence, NOW + 31, clock).state, "none");
  equal(verdict([], { ...evidence, answeredS: null, failed: true }, NOW, clock).state, "none");
});

test("Live is said on evidence: an answer that came, and none that failed or stays out since.", () => {
  const state = { live: true, refreshS: 5, answeredMs: 50_000, failedMs: null };
  const told = (change, nowMs = 51_000) => liveness({ ...state, ...change }, nowMs, clock);
  equal(told({}), { on: true, words: "Live" });
  equal(told({ live: false }), { on: false, words: "Paused" });
  equal(told({ answeredMs: null }), { on: false, words: "" });
  equal(told({ failedMs: 50_500 }), { on: false, words: "Not refreshed since t50000" });
  equal(told({ failedMs: 49_000 }).words, "Live");
  ok(!told({}, 90_000).on);
});
