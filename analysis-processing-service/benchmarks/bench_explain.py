"""How good and how fast the analyses that explain are, on synthetic series with fixed seeds.

    .venv/bin/python benchmarks/bench_explain.py [PART …]

Parts: changes, query, change_points, others, which the README quotes; and calibrate, which prints
what stands in `changes/shift.py` as tails. Its kinds of series are those they were chosen on.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from analysis_processing.analyses.block import Block  # noqa: E402  found beside the benchmarks
from analysis_processing.analyses.change_points import run as change_points  # noqa: E402
from analysis_processing.analyses.changes import run as changes  # noqa: E402
from analysis_processing.analyses.correlation import run as correlation  # noqa: E402
from analysis_processing.analyses.group_outliers import run as group_outliers  # noqa: E402
from analysis_processing.analyses.seasonality import run as seasonality  # noqa: E402

# How much of unchanged series is what: the memory of an AR(1); 1 is a random walk.
MEMORIES = {0.0: 0.4, 0.5: 0.2, 0.9: 0.2, 0.97: 0.1, 1.0: 0.1}
CHUNK = 128
CHANGE_PARAMS = {"split_at": None, "false_share": 0.01}


def remembering(rng: np.random.Generator, rows: int, steps: int, memory: float) -> np.ndarray:
    """AR(1) of deviation 1, in its stride from the first sample; a walk for a memory of 1."""
    shocks = rng.normal(size=(rows, steps + 200))
    size = np.sqrt(1.0 - memory**2) if memory < 1.0 else 1.0
    return lfilter([size], [1.0, -memory], shocks, axis=1)[:, 200:]


def calibrate(steps: int = 240, rows: int = 100_000) -> None:
    """Print which score unchanged series exceed with chances of 10⁰, 10⁻¹ …: mixed, and noise."""
    rng = np.random.default_rng(7)
    for name, kinds in (("mixed", MEMORIES), ("noise", {0.0: 1.0})):
        scores = []
        for _ in range(rows // 4000):
            parts = [
                remembering(rng, int(4000 * share), 2 * steps, one) for one, share in kinds.items()
            ]
            scores.append(changes.all_scores(np.concatenate(parts), steps)[1][0])
        tail = np.quantile(np.concatenate(scores), 1.0 - 10.0 ** -np.arange(6.0))
        print(f"{name:8}", " ".join(f"{score:7.2f}" for score in tail))


def windowed(rng: np.random.Generator, rows: int, news: np.ndarray) -> np.ndarray:
    """Means of windows of 20 samples, as `rate(x[5m])` at 15 s has them, in their deviation.

    news: what the samples themselves rise by, in deviations of the means.
    """
    samples = rng.normal(size=(rows, news.shape[1] + 19)) * np.sqrt(20.0)
    samples[:, 19:] += news
    return lfilter(np.ones(20) / 20.0, [1.0], samples, axis=1)[:, 19:]


def bench_query(rows: int = 8_000, steps: int = 480, size: float = 5.0) -> None:
    """Print what is named of one query's series, 37 of which step, 31 in one zone."""
    times = np.arange(steps)
    for walks in (0.0, 0.1):
        for kind in ("noise", "AR 0.5", "AR 0.9", WINDOWS, "lognormal", "wave", "gaps"):
            rng = np.random.default_rng(21)
            zones = rng.choice(list("abc"), rows)
            walking = rng.random(rows) < walks
            stepped = np.zeros(rows, dtype=bool)
            stepped[np.flatnonzero((zones == "b") & ~walking)[:31]] = True
            stepped[np.flatnonzero((zones != "b") & ~walking)[:6]] = True
            news = size * np.outer(stepped, times >= steps // 2)
            if kind == WINDOWS:
                values = windowed(rng, rows, news)
            else:
                values = MAKERS[kind](rng, rows, times)
                values += news * np.nanstd(values, axis=1, keepdims=True)
            values[walking] = remembering(rng, int(walking.sum()), steps, 1.0)
            labels = [{"zone": zone, "series": str(row)} for row, zone in enumerate(zones)]
            block = Block(labels, 1_700_000_000_000, 15_000, 100.0 + values)
            results, summary, took = timed(changes, block, CHANGE_PARAMS)
            named = np.array([bool(result.findings) for result in results])
            print(
                f"{kind}, {walks:.0%} walks: {(named & stepped).sum()} of 37, false "
                f"{(named & ~stepped).sum()}; {summary['sentence']}; {took}"
            )


def in_chunks(module: Any, block: Block, params: dict, context: Any) -> list:
    """The results of all chunks, in order."""
    firsts = range(0, len(block.labels), CHUNK)
    parts = [module.run(block.rows(first, first + CHUNK), params, context) for first in firsts]
    return [result for part in parts for result in part.series]


def timed(module: Any, block: Block, params: dict) -> tuple[list, dict, str]:
    """The results, the summary and how long each of the three steps took."""
    clocks = [(time.perf_counter(), time.process_time())]
    context = module.prepare(block, params) if hasattr(module, "prepare") else None
    clocks.append((time.perf_counter(), time.process_time()))
    results = in_chunks(module, block, params, context)
    clocks.append((time.perf_counter(), time.process_time()))
    summary = module.conclude(results, params, context) if hasattr(module, "conclude") else {}
    clocks.append((time.perf_counter(), time.process_time()))
    wall, cpu = (np.diff([clock[of] for clock in clocks]) for of in (0, 1))
    took = f"prepare {wall[0]:.1f}, run {wall[1]:.1f}, conclude {wall[2]:.2f} s"
    return results, summary, f"{took}; CPU {cpu.sum():.1f} s"


MAKERS = {
    "noise": lambda rng, n, times: remembering(rng, n, times.size, 0.0),
    "AR 0.5": lambda rng, n, times: remembering(rng, n, times.size, 0.5),
    "AR 0.9": lambda rng, n, times: remembering(rng, n, times.size, 0.9),
    "walk": lambda rng, n, times: remembering(rng, n, times.size, 1.0),
    "lognormal": lambda rng, n, times: np.exp(rng.normal(size=(n, times.size))),
    "wave": lambda rng, n, times: (
        20 * np.sin(2 * np.pi * (times / 5760 + rng.random((n, 1))))
        + rng.normal(size=(n, times.size))
    ),
    "rare events": lambda rng, n, times: (rng.random((n, times.size)) < 0.02).astype(float),
    "gaps": lambda rng, n, times: np.where(
        rng.random((n, times.size)) < 0.4, np.nan, rng.normal(size=(n, times.size))
    ),
}
KINDS = tuple(MAKERS)
WINDOWS = "windows of 20"


def mixed(rng: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Rows of eight kinds in turn, none of which changes."""
    values = np.empty((rows, steps))
    for kind, make in enumerate(MAKERS.values()):
        values[kind::8] = make(rng, len(range(kind, rows, 8)), np.arange(steps))
    return 100.0 + values


def bench_changes(rows: int = 10_000, steps: int = 480) -> None:
    """Print time, recall by size of step, and false discoveries; two hours of 15 s."""
    for size in (0.0, 2.0, 3.0, 5.0):
        rng = np.random.default_rng(31)
        values = mixed(rng, rows, steps)
        labels = [
            {"__name__": f"m{row % 40}", "zone": "abc"[row // 8 % 3], "series": str(row)}
            for row in range(rows)
        ]
        stepped = [row for row in range(rows) if row // 8 % 75 == 1]
        for row in stepped:
            values[row, steps // 2 :] += size * np.nanstd(values[row])
        block = Block(labels, 1_700_000_000_000, 15_000, values)
        results, summary, took = timed(changes, block, CHANGE_PARAMS)
        named = {row for row, result in enumerate(results) if result.findings}
        false = len(named - set(stepped)) if size else len(named)
        print(f"changes, step {size:g} σ: false {false} of {rows}; {took}")
        print(f"    {summary['sentence']}; recall by kind:")
        for kind, name in enumerate(KINDS):
            rows_of_kind = {row for row in stepped if row % 8 == kind}
            print(f"    {name}: {len(named & rows_of_kind)} of {len(rows_of_kind)}")


def bench_change_points(rows: int = 100) -> None:
    """Print F1 (a step counts within 10 samples) by size and memory, and the time of a series."""
    steps_at = (200, 450, 700)
    for memory in (0.0, 0.5, 0.9):
        for size in (0.0, 1.0, 2.0, 3.0, 5.0):
            values = remembering(np.random.default_rng(12), rows, 1000, memory)
            for sign, at in zip((1, -1, 1), steps_at, strict=True):
                values[:, at:] += sign * size
            results, _, took = timed(
                change_points, Block([{}] * rows, 0, 1, values), {"penalty": 3.0}
            )
            starts = [[finding.start_ms for finding in result.findings] for result in results]
            right = sum(
                any(abs(at - one) <= 10 for one in row) for row in starts for at in steps_at
            )
            named = sum(len(row) for row in starts)
            score = (
                f"F1 {2 * right / (named + 3 * rows):.3f}" if size else f"false {named} of {rows}"
            )
            print(f"change_points, memory {memory:g}, step {size:g} σ: {score}; {took}")


def bench_others(rows: int = 1_000, steps: int = 1_440) -> None:
    """Print time and false discoveries of the other kinds, on series that share nothing."""
    values = mixed(np.random.default_rng(13), rows, steps)
    labels = [{"job": str(row % 8), "series": str(row)} for row in range(rows)]
    block = Block(labels, 1_700_000_000_000, 60_000, values)
    for module, params in (
        (group_outliers, {"by": ["job"], "deviations": 5.0, "share": 0.1}),
        (seasonality, {"strength_min": 0.1}),
        (correlation, {"target": '{series="2"}', "lag_steps": 20, "false_share": 0.01}),
    ):
        _, summary, took = timed(module, block, params)
        print(f"{module.__name__.split('.')[-2]}: {summary['sentence']}; {took}")


if __name__ == "__main__":
    names = sys.argv[1:] or ["changes", "query", "change_points", "others"]
    benches = {
        "calibrate": calibrate,
        "changes": bench_changes,
        "query": bench_query,
        "change_points": bench_change_points,
        "others": bench_others,
    }
    for name in names:
        benches[name]()
