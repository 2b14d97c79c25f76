import { tileOf } from "../../src/state/tile.js";
import { equal, test } from "./harness.js";

const clock = (seconds) => `t${seconds}`;
const times = [0, 60, 120];
const host = (instance, ...values) => ({ labels: { instance }, values });
const tile = (series, spec = {}) => tileOf({ times, series }, spec, clock);

test("A number is of now: where the newest step has no sample there is none, and since when.", () => {
  equal(tile([{ labels: {}, values: [1, 2, null] }], { note: "in use", badAt: 1 }), {
    value: null,
    values: [1, 2, null],
    level: "none",
    note: "no sample since t60",
  });
  equal(tile([]), { value: null, values: [], level: "none", note: "no samples" });
});

test("A number of hosts says which host, or the worst of how many, and how many are silent.", () => {
  const spec = { note: "in use", worst: true, warnAt: 0.8 };
  equal(tile([host("a", 0.1, 0.2, 0.3)], spec).note, "in use · a");
  const told = tile([host("a", 0.1, 0.2, 0.3), host("b", 0.9, 0.1, 0.9), host("c", 1, null, null)], spec);
  equal([told.value, told.level, told.note], [0.9, "warn", "high · b, worst of 2 · 1 silent"]);
  equal(
    tile([{ labels: { instance: "a", mountpoint: "/data" }, values: [1, 1, 0.5] }], spec).note,
    "in use · /data on a",
  );
});
