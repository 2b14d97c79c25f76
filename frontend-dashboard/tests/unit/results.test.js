import { causeWords, placeOf } from "../../src/state/events.js";
import {
  columnsOf,
  judgedWords,
  kindsOf,
  lasted,
  parameterOf,
  pointsBefore,
  queryOf,
  sectionsOf,
  textOf,
  withPast,
  wordsOf,
} from "../../src/state/results.js";
import { equal, test } from "./harness.js";

const axis = { start_ms: 10_000, step_ms: 1000, steps: 4 };

test("A series keeps its gaps, and what is no number; values inside of findings are marked.", () => {
  const { times, columns } = columnsOf(axis, {
    columns: { score: [0, 9, 0, 0], values: [1, 9, null, "+Inf"], upper: [2, 2, 2, 2], lower: [0, 0, 0, 0] },
    findings: [{ start_ms: 10_500, end_ms: 12_000 }],
  });
  equal(times, [10, 11, 12, 13]);
  equal(Object.keys(columns), ["upper", "lower", "values", "unusual"]);
  equal(columns.values, [1, 9, null, null]);
  equal(columns.unusual, [null, 9, null, null]);
});

test("A finding that lasts is marked to the end, a change where it was, one outside of the axis nowhere.", () => {
  const marked = (findings) => columnsOf(axis, { columns: { values: [1, 2, 3, 4] }, findings }).columns.unusual;
  equal(marked([{ start_ms: 12_000, end_ms: null }]), [null, null, 3, 4]);
  equal(marked([{ start_ms: 0, end_ms: 9999 }]), [null, null, null, null]);
  equal(marked([{ start_ms: 0, end_ms: 1e15 }]), [1, 2, 3, 4]);
  equal(marked([{ kind: "change", start_ms: 12_000, end_ms: null }]), [null, null, 3, null]);
});

test("Bands, what is expected and columns of a kind are drawn below the values.", () => {
  const all = ["companion", "values", "lower_80", "expected", "upper", "upper_80", "lower"];
  const { columns } = columnsOf(axis, { columns: Object.fromEntries(all.map((name) => [name, []])), findings: [] });
  const drawn = ["upper", "lower", "upper_80", "lower_80", "expected", "companion", "values", "unusual"];
  equal(Object.keys(columns), drawn);
  equal(columnsOf(axis, { columns: { expected: [1] }, findings: [] }).columns, { expected: [1] });
});

test("A fact is told in what its name says that it counts.", () => {
  equal(wordsOf("time_to_full_s"), "Time to full");
  equal(textOf("time_to_full_s", 93_600), "1 d 2 h");
  equal(textOf("lag_ms", 90_000), "1 min 30 s");
  equal(textOf("share", 0.84), "84 %");
  equal(textOf("budget_left", -0.5), "-50 %");
  equal(textOf("usual_deviation", 2.25), "2.25");
  equal([textOf("x", null), textOf("x", true), textOf("seasons", ["1d", "1h"])], ["–", "yes", "1d, 1h"]);
  equal(textOf("labels", { zone: "b" }), '{zone="b"}');
  equal(textOf("window", { long_s: 3600, rate: 14.4 }), "long 1 h, rate 14.4");
});

test("What a kind adds to a summary is tables and facts; what each has is told elsewhere.", () => {
  const sections = sectionsOf({
    series: 2,
    judged: 2,
    points: 9,
    findings: 0,
    notes: [{ note: "x", series: 1 }],
    sentence: "s",
    model: "seasonal",
    target: { job: "a" },
    changes: [{ zone: "b", count: 31, none: null, labels: { a: "1" } }, { zone: "a" }],
    methods: {},
    objectives: { budget_left_ratio: 0.5, burn_rates: [{ window_s: 3600, rate: 2 }] },
    soonest: [],
  });
  equal(sections, [
    {
      title: "Facts",
      facts: [
        ["Model", "seasonal"],
        ["Target", '{job="a"}'],
      ],
    },
    {
      title: "What changed",
      heads: ["Labels", "Zone", "Count"],
      isNumber: [false, false, true],
      rows: [
        ['{a="1"}', "b", "31"],
        ["–", "a", "–"],
      ],
    },
    { title: "Objectives", facts: [["Budget left ratio", "50 %"]] },
    { title: "Burn rates", heads: ["Window", "Rate"], isNumber: [true, true], rows: [["1 h", "2"]] },
  ]);
  equal(sectionsOf({ series: 0, judged: 0 }), []);
});

test("It is told how many were judged, and why the others were not.", () => {
  const notes = [{ note: "fewer than 64 samples", series: 3 }];
  equal(judgedWords({ series: 40, judged: 37, notes }), ["37 of 40 series judged", "3: fewer than 64 samples"]);
});

test("Findings are counted by kind, and last until they end.", () => {
  equal(kindsOf([{ kind: "spike" }, { kind: "level_shift" }, { kind: "spike" }]), ["spike × 2", "level shift"]);
  equal(lasted({ start_ms: 0, end_ms: null }), "lasts");
  equal(lasted({ start_ms: 5000, end_ms: 5000 }, 60_000), "1 min");
});

test("What is typed for a parameter is sent as its type; nothing typed is the default.", () => {
  const typed = (type, text) => parameterOf({ type }, text);
  equal([typed("number", " 0.7 "), typed("integer", "64"), typed("duration", "6h")], [0.7, 64, "6h"]);
  equal(typed("labels", "zone,  service "), ["zone", "service"]);
  equal(typed("time", "2026-11-30T10:00Z"), Date.UTC(2026, 10, 30, 10));
  equal(
    [typed("time", ""), typed("duration", " "), typed("text", ""), typed("labels", "")],
    [undefined, undefined, "", []],
  );
});

test("Explore shows an event's series with room around it, and goes on while it lasts.", () => {
  const hour = 3_600_000;
  const named = { labels: { __name__: "up", job: "a" }, start_ms: 10 * hour, end_ms: 12 * hour };
  equal(placeOf(named, "q"), { q: 'up{job="a"}', from: String(8 * hour), to: String(14 * hour) });
  equal(placeOf({ labels: {}, start_ms: 10 * hour, end_ms: null }, "q"), {
    q: "q",
    from: String(9 * hour),
    to: "now",
  });
});

test("A cause is an event before, or a new version of what runs.", () => {
  equal(causeWords({ event: "1", watch: "w", kind: "shift", start_ms: 1, labels: { job: "a" } }), 'shift of {job="a"}');
  equal(causeWords({ version: "1.4", job: "das" }), 'version 1.4 of {job="das"}');
});

test("What lies ahead is drawn with twice as much of what was before it, as far as the job reaches.", () => {
  const job = { start_ms: 0, end_ms: 9000 };
  equal(pointsBefore(axis, job), { start: 2, end: 9, step: 1 });
  equal(pointsBefore(axis, { ...job, start_ms: 9000 }), { start: 9, end: 9, step: 1 });
  equal(
    [pointsBefore(axis, { ...job, start_ms: 10_000 }), pointsBefore(axis, { ...job, end_ms: 13_000 })],
    [null, null],
  );
  const series = { score: 1, columns: { expected: [1, 2, 3, 4] } };
  equal(withPast(axis, series, [7, null]), {
    axis: { start_ms: 8000, step_ms: 1000, steps: 6 },
    one: { score: 1, columns: { expected: [null, null, 1, 2, 3, 4], values: [7, null, null, null, null, null] } },
  });
});

test("One series of a query is asked for by its name, else by all of its labels.", () => {
  const of = (labels, facts = {}) => queryOf("q", { labels, facts }, 60);
  equal(of({ __name__: "up", job: "a" }), 'up{job="a"}');
  equal(of({ __name__: "c_total" }, { taken_as: "rate" }), "rate(c_total[120s])");
  equal(of({}), "q");
  equal(
    of({ a: "$1", b: "y" }),
    ['(q) and on (a, b) label_replace(label_replace(vector(1), "a", "$$1", "", ""), "b", "y", "", "")'][0],
  );
});
