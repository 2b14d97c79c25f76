"""Query evaluation over columns in RAM: samples a second of the window kernels and whole queries.

Run from the service folder: `python benchmarks/bench_promql.py [--series 10000] [--hours 6]`.
Shape of the default: 10,000 series × 6 h at 10 s = 21.6 M samples, 361 steps of 60 s, one thread.
Memory: `--memory` prints the resident set before and after the kernels are loaded.
Native histograms: `--histograms --series 20` has 40 buckets in each sample, as they are stored.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from histograms import Written

from data_api import promql
from data_api.model import HISTOGRAM_BITS, Columns, QueryLimits

QUERIES = (
    "x",
    "sum by (host) (x)",
    "sum by (host) (rate(x[5m]))",
    "avg_over_time(x[5m])",
    "max_over_time(x[5m])",
    "quantile_over_time(0.9, x[5m])",
    "topk(5, x)",
    "x > 500",
    "x / ignoring () x",
    "histogram_quantile(0.99, sum by (le) (rate(x[5m])))",
    "avg_over_time(x[6h])",
)


NATIVE_QUERIES = (
    "histogram_count(x)",
    "sum(x)",
    "rate(x[5m])",
    "histogram_quantile(0.9, sum(rate(x[5m])))",
    "avg_over_time(x[5m])",
    "resets(x[1h])",
)


def native_columns(series: int, samples: int, interval_ms: int) -> Columns:
    """Counters of observations, each sample a histogram of schema 3."""
    rng = np.random.default_rng(7)
    stored = []
    for _ in range(series):
        counts = np.cumsum(rng.integers(0, 5, (samples, 40)), axis=0).tolist()
        stored += [Written(3, tuple(enumerate(row)), total=float(sum(row))) for row in counts]
    return Columns(
        [{"__name__": "x", "host": str(i)} for i in range(series)],
        np.arange(series + 1, dtype=np.int64) * samples,
        np.tile(np.arange(samples, dtype=np.int64) * interval_ms, series),
        (np.arange(series * samples) + HISTOGRAM_BITS).view(np.float64),
        [written.encoded() for written in stored],
    )


def columns(series: int, samples: int, interval_ms: int) -> Columns:
    """Counters that grow unevenly, on one clock, 10 a host."""
    rng = np.random.default_rng(7)
    times = np.tile(np.arange(samples, dtype=np.int64) * interval_ms, series)
    values = np.cumsum(rng.integers(0, 20, (series, samples)), axis=1).astype(np.float64).ravel()
    bounds = ("0.1", "0.5", "1", "5", "+Inf")
    labels = [
        {
            "__name__": "x",
            "host": f"host_{i // 10}",
            "cpu": str(i % 10),
            "le": bounds[i % 5],
        }
        for i in range(series)
    ]
    return Columns(labels, np.arange(series + 1, dtype=np.int64) * samples, times, values)


def resident_mib() -> float:
    """Resident memory of this process, by the kernel's count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    """Print a row a query."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=10_000)
    arguments.add_argument("--hours", type=float, default=6)
    arguments.add_argument("--memory", action="store_true")
    arguments.add_argument("--histograms", action="store_true")
    options = arguments.parse_args()
    if options.memory:
        before = resident_mib()
        began = time.perf_counter()
        promql.warm_up()
        took = time.perf_counter() - began
        print(f"before kernels {before:.0f} MiB, after {resident_mib():.0f} MiB, {took:.2f} s")
        return
    interval_ms, step_ms = 10_000, 60_000
    samples = int(options.hours * 3_600_000 / interval_ms)
    made = native_columns if options.histograms else columns
    data = made(options.series, samples, interval_ms)
    end_ms = samples * interval_ms
    print(f"{data.samples / 1e6:.1f} M samples, {end_ms // step_ms + 1} steps")
    promql.warm_up()
    for query in NATIVE_QUERIES if options.histograms else QUERIES:
        expr = promql.parse(query)
        loaded = dict.fromkeys(promql.needed(expr, 0, end_ms, step_ms), data)
        best = cpu = float("inf")
        for _ in range(3):
            began, began_cpu = time.perf_counter(), time.process_time()
            promql.evaluate(
                expr, loaded, 0, end_ms, step_ms, limits=QueryLimits(samples_max=10**9), text=query
            )
            best = min(best, time.perf_counter() - began)
            cpu = min(cpu, time.process_time() - began_cpu)
            if best > 5:
                break
        ns = cpu * 1e9 / data.samples
        print(f"{best * 1000:7.0f} ms  {cpu * 1000:7.0f} ms CPU  {ns:6.1f} ns/sample  {query}")


if __name__ == "__main__":
    main()
