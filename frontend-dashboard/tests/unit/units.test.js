import {
  axisTexts,
  binarySplits,
  duration,
  format,
  significant,
  unitOfMetric,
  unitOfQuery,
} from "../../src/format/units.js";
import { equal, test } from "./harness.js";

test("Bytes are told in powers of 1024, with three digits and without trailing zeros.", () => {
  equal(format(0, "bytes"), "0 B");
  equal(format(1023, "bytes"), "1023 B");
  equal(format(1536, "bytes"), "1.5 KiB");
  equal(format(8 * 2 ** 30, "bytes"), "8 GiB");
  equal(format(-2.25 * 2 ** 20, "bytes_per_s"), "-2.25 MiB/s");
});

test("A missing value is a dash and an infinite one keeps its sign.", () => {
  equal(
    [null, undefined, NaN, Infinity, -Infinity].map((value) => format(value, "bytes")),
    ["–", "–", "–", "+Inf", "-Inf"],
  );
});

test("Plain numbers grow short names at ten thousand and small ones at a thousandth.", () => {
  equal(
    [0, 1, 1234, 9999, 10_000, 1.5e6, 2e9, 0.5, 0.0005, 0.0000021].map((value) => format(value)),
    ["0", "1", "1234", "9999", "10k", "1.5M", "2G", "0.5", "500µ", "2.1µ"],
  );
  equal(format(1e-12), "1.0e-12");
  equal(format(1e24), "1.00e+24");
});

test("A value just under the next name goes there instead of printing 1000.", () => {
  equal(format(999_960), "1M");
  equal(format(1024 * 1023.9, "bytes"), "1 MiB");
});

test("Durations use two neighbouring words at most.", () => {
  equal([0, 4e-9, 8.5e-4, 0.25, 1.5, 59, 60, 200, 3600, 97_200, 40_000_000].map(duration), [
    "0 s",
    "4 ns",
    "850 µs",
    "250 ms",
    "1.5 s",
    "59 s",
    "1 min",
    "3 min 20 s",
    "1 h",
    "1 d 3 h",
    "1 y 97 d",
  ]);
  equal(duration(-90), "-1 min 30 s");
});

test("Significant digits never drop digits before the point.", () => {
  equal(
    [123_456, 12.345, 0.0012345, 100].map((value) => significant(value)),
    ["123456", "12.3", "0.00123", "100"],
  );
});

test("A metric's unit is its metadata's, else its suffix's.", () => {
  equal(unitOfMetric("node_memory_MemFree_bytes"), "bytes");
  equal(unitOfMetric("http_request_duration_seconds_sum"), "seconds");
  equal(unitOfMetric("http_request_duration_seconds_count"), "none");
  equal(unitOfMetric("process_start_time_seconds"), "timestamp");
  equal(unitOfMetric("cache_hit_ratio"), "ratio");
  equal(unitOfMetric("payload", "bytes"), "bytes");
});

test("A rate of bytes is bytes a second, of seconds a ratio, of anything else events a second.", () => {
  equal(unitOfQuery("rate(node_network_receive_bytes_total[5m])"), "bytes_per_s");
  equal(unitOfQuery('sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[1m]))'), "ratio");
  equal(unitOfQuery("sum(rate(http_requests_total[1m]))"), "per_second");
  equal(unitOfQuery("node_memory_MemFree_bytes"), "bytes");
});

test("A count, a quotient and text inside of strings do not make a unit.", () => {
  equal(unitOfQuery("count by (job) (process_resident_memory_bytes)"), "none");
  equal(unitOfQuery("node_memory_MemFree_bytes / node_memory_MemTotal_bytes"), "none");
  equal(unitOfQuery('up{path="/a_bytes"}'), "none");
});

test("A quantile has the unit of its histogram.", () => {
  equal(
    unitOfQuery("histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"),
    "seconds",
  );
  equal(unitOfQuery("histogram_quantile(0.5, rate(response_size_bytes_bucket[5m]))"), "bytes");
});

test("Ticks of a byte axis are powers of two apart.", () => {
  equal(binarySplits(0, 2 ** 30, 4), [0, 2 ** 28, 2 ** 29, 3 * 2 ** 28, 2 ** 30]);
  equal(binarySplits(5, 5, 4), [5]);
});

test("Labels of an axis never repeat, however near its ticks are.", () => {
  for (const unit of ["none", "bytes", "bytes_per_s", "ratio", "percent", "per_second", "celsius", "seconds"])
    for (const [from, step] of [
      [0, 1],
      [1000, 0.01],
      [123_456_789, 1],
      [0.1, 1e-7],
      [3600, 0.5],
      [2 ** 40, 1024],
    ]) {
      const splits = Array.from({ length: 6 }, (_, index) => from + index * step);
      const texts = axisTexts(splits, unit);
      equal(new Set(texts).size, 6, `${unit} ${from} ${step}: ${texts}`);
    }
  equal(axisTexts([0, 60, 120], "seconds"), ["0 s", "1 min", "2 min"]);
  equal(axisTexts([5, 5], "none"), ["5", "5"]);
});

test("Counts of a histogram's buckets are not seconds, and their rate is events a second.", () => {
  equal(unitOfMetric("http_request_duration_seconds_bucket"), "none");
  equal(unitOfQuery("sum by (le) (rate(http_request_duration_seconds_bucket[5m]))"), "per_second");
  equal(unitOfQuery("http_response_size_bytes_bucket"), "none");
});
