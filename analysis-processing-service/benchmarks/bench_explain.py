"""How good and how fast the analyses that explain are, on synthetic series with fixed seeds.

    .venv/bin/python benchmarks/bench_explain.py [calibrate] [changes] [change_points] [others]

calibrate prints what stands in `changes/shift.py` as TAIL_SCORES and WINDOWS (for walks); the rest
is quoted in the README. Its kinds of series are those that the constants were chosen on.
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
from analysis_processing.analyses.changes import shift  # noqa: E402
from analysis_processing.analyses.correlation import run as correlation  # noqa: E402
from analysis_processing.analyses.group_outliers import run as group_outliers  # noqa: E402
from analysis_processing.analyses.seasonality import run as seasonality  # noqa: E402

# How much of unchanged series is what: the memory of an AR(1); 1 is a random walk.
MEMORIES = {0.0: 0.4, 0.5: 0.2, 0.9: 0.2, 0.97: 0.1, 1.0: 0.1}
KINDS = ("noise", "AR 0.5", "AR 0.9", "walk", "lognormal", "wave", "rare events", "gaps")
CHUNK = 128
CHANGE_PARAMS = {"split_at": None, "false_share": 0.01}


def remembering(rng: np.random.Generator, rows: int, steps: int, memory: float) -> np.ndarray:
    """AR(1) of deviation 1, in its stride from the first sample; a walk for a memory of 1."""
    shocks = rng.normal(size=(rows, steps + 200))
    size = np.sqrt(1.0 - memory**2) if memory < 1.0 else 1.0
    return lfilter([size], [1.0, -memory], shocks, axis=1)[:, 200:]


def calibrate(steps: int = 240, rows: int = 400_000) -> None:
    """Print which score unchanged series exceed with chances of 10⁰, 10⁻¹ …, level and spread."""
    rng = np.random.default_rng(7)
    levels, spreads = [], []
    for memory, share in MEMORIES.items():
        for _ in range(int(rows * share) // 4000):
            values = remembering(rng, 4000, 2 * steps, memory)
            levels.append(shift.shifts(values, steps).scores)
            noise = np.exp(values) * rng.normal(size=values.shape) if memory < 1.0 else values
            spreads.append(shift.shifts(changes.views_of(noise)[1], steps).scores)
    for name, scores in (("level", levels), ("spread", spreads)):
        tail = np.quantile(np.concatenate(scores), 1.0 - 10.0 ** -np.arange(6.0))
        print(f"{name:8}", " ".join(f"{score:7.2f}" for score in tail))
    walks = remembering(rng, rows // 10, 2 * steps, 1.0)
    windows, strays = shift.WINDOWS, []
    for first, last, _ in windows:
        shift.WINDOWS = ((first, last, 1.0),)
        strays.append(np.quantile(shift.shifts(walks, steps).scores, 0.999))
        print(f"eighths {first}-{last}: {strays[-1] / strays[0]:.2f}")
    shift.WINDOWS = windows


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


def mixed(rng: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Rows of eight kinds in turn, none of which changes."""
    times = np.arange(steps)
    values = np.empty((rows, steps))
    makers = (
        lambda n: remembering(rng, n, steps, 0.0),
        lambda n: remembering(rng, n, steps, 0.5),
        lambda n: remembering(rng, n, steps, 0.9),
        lambda n: remembering(rng, n, steps, 1.0),
        lambda n: np.exp(rng.normal(size=(n, steps))),
        lambda n: (
            20 * np.sin(2 * np.pi * (times / 5760 + rng.random((n, 1))))
            + rng.normal(size=(n, steps))
        ),
        lambda n: (rng.random((n, steps)) < 0.02).astype(float),
        lambda n: np.where(rng.random((n, steps)) < 0.4, np.nan, rng.normal(size=(n, steps))),
    )
    for kind, make in enumerate(makers):
        values[kind::8] = make(len(range(kind, rows, 8)))
    return 100.0 + values


def bench_changes(rows: int = 10_000, steps: int = 480) -> None:
    """Print time, recall by size of step, and false discoveries; two hours of 15 s."""
    for size in (0.0, 2.0, 3.0, 5.0):
        rng = np.random.default_rng(11)
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
    names = sys.argv[1:] or ["changes", "change_points", "others"]
    benches = {
        "calibrate": calibrate,
        "changes": bench_changes,
        "change_points": bench_change_points,
        "others": bench_others,
    }
    for name in names:
        benches[name]()
