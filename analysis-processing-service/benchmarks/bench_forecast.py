"""How well and how fast forecasts are: MASE, coverage of the intervals, seconds.

    .venv/bin/python benchmarks/bench_forecast.py [--seed N] [--trees N] [--m4 FOLDER] [PART …]

Parts: coverage (six kinds of series, 24 h and a week ahead), hourly (414 series of M4 hourly's
kind, 48 h ahead; with --m4 the real ones: Hourly-train.csv and Hourly-test.csv in FOLDER, from
github.com/Mcompetitions/M4-methods), speed (10,000 series × two weeks of hours). Without a part
all. MASE is M4's: its unit is the mean distance of the training part from itself a day earlier.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import futures  # noqa: E402  found beside the tests

from analysis_processing.analyses.block import Block  # noqa: E402
from analysis_processing.analyses.forecast import FORECAST, booster, run  # noqa: E402
from analysis_processing.analyses.parameters import resolve  # noqa: E402

HOUR_MS = 3_600_000
METHODS = ("seasonal", "damped", "booster", "auto")


def block_of(values: np.ndarray) -> Block:
    """Hourly series that end at one time."""
    labels = [{"series": str(row)} for row in range(len(values))]
    return Block(labels, 472_222 * HOUR_MS, HOUR_MS, np.ascontiguousarray(values))


def forecast(block: Block, params: dict, context: object) -> tuple[run.Part, dict[str, np.ndarray]]:
    """The part, in chunks as a job has them, and its columns as (series, ahead)."""
    parts = [
        run.run(block.rows(first, first + 256), params, context)
        for first in range(0, len(block.labels), 256)
    ]
    series = [result for part in parts for result in part.series]
    columns = {
        name: np.stack([result.columns[name] for result in series])
        for name in ("expected", "lower", "lower_80", "upper_80", "upper")
    }
    return run.Part(parts[0].start_ms, HOUR_MS, parts[0].steps, series), columns


def covered(columns: dict[str, np.ndarray], future: np.ndarray) -> str:
    """Shares of the future inside the 80 % and the 95 % intervals."""
    in_80 = (future >= columns["lower_80"]) & (future <= columns["upper_80"])
    in_95 = (future >= columns["lower"]) & (future <= columns["upper"])
    return f"{in_80.mean():>8.1%}{in_95.mean():>8.1%}"


def coverage(seed: int, series: int = 200) -> None:
    """A row a case and history: coverage by series that are judged alone (no booster)."""
    print(f"{'case':16}{'history':>9}{'ahead':>7}{'80 %':>8}{'95 %':>8}")
    for steps, ahead in ((336, 24), (168, 24), (72, 24), (672, 168)):
        params = resolve(FORECAST.parameters, {"horizon": f"{ahead}h"}, HOUR_MS)
        for case, make in futures.CASES.items():
            values = np.stack(
                [make(np.random.default_rng([seed, row]), steps + ahead) for row in range(series)]
            )
            _, columns = forecast(block_of(values[:, :steps]), params, None)
            print(f"{case:16}{steps:>7} h{ahead:>5} h{covered(columns, values[:, steps:])}")


def m4(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """M4 hourly's training and test part, the former aligned at its end."""
    rows = []
    for name in ("Hourly-train.csv", "Hourly-test.csv"):
        with (folder / name).open(encoding="ascii", newline="") as file:
            lines = list(csv.reader(file))[1:]
        rows.append([[float(cell) for cell in line[1:] if cell] for line in lines])
    past = np.full((len(rows[0]), max(map(len, rows[0]))), np.nan)
    for row, values in enumerate(rows[0]):
        past[row, -len(values) :] = values
    return past, np.array(rows[1])


def hourly(seed: int, folder: Path | None) -> None:
    """A row a method: MASE and coverage; before them how long the training took."""
    if folder is None:
        values = np.stack(
            [futures.usage(np.random.default_rng([seed, n]), 1008) for n in range(414)]
        )
        past, future = values[:, :-48], values[:, -48:]
        past[: 414 // 2, : 960 - 700] = np.nan
    else:
        past, future = m4(folder)
    scales = np.nanmean(np.abs(past[:, 24:] - past[:, :-24]), axis=1)
    block = block_of(past)
    params = resolve(FORECAST.parameters, {"horizon": "48h"}, HOUR_MS)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    context = run.prepare(block, params)
    print(
        f"prepare: {time.perf_counter() - started_s:.0f} s, CPU "
        f"{time.process_time() - started_cpu_s:.0f} s, booster's mean log gain "
        f"{context.advantage:.3f}, {context.note}"
    )
    print(f"{'method':12}{'MASE':>8}{'80 %':>8}{'95 %':>8}")
    naive = past[:, -24:][:, np.arange(48) % 24]
    print(f"{'naive':12}{np.mean(np.abs(naive - future).mean(axis=1) / scales):>8.3f}")
    for method in METHODS:
        served = context if method in {"booster", "auto"} else None
        part, columns = forecast(block, params | {"method": method}, served)
        mase = np.mean(np.abs(columns["expected"] - future).mean(axis=1) / scales)
        chosen = run.conclude(part.series, params, None)["methods"] if method == "auto" else ""
        print(f"{method:12}{mase:>8.3f}{covered(columns, future)}  {chosen}")


def speed() -> None:
    """Seconds of 10,000 series that the baselines serve, in chunks of 256."""
    rng = np.random.default_rng(1)
    block = block_of(np.stack([futures.daily(rng, 336) for _ in range(10_000)]))
    params = resolve(FORECAST.parameters, {}, HOUR_MS)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    for first in range(0, len(block.labels), 256):
        run.run(block.rows(first, first + 256), params, None)
    print(
        f"10,000 series × 336: {time.perf_counter() - started_s:.1f} s, CPU "
        f"{time.process_time() - started_cpu_s:.1f} s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["coverage", "hourly", "speed"])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--trees", type=int, default=booster.TREES)
    parser.add_argument("--m4", type=Path)
    options = parser.parse_args()
    booster.TREES = options.trees
    for part in options.parts:
        match part:
            case "coverage":
                coverage(options.seed)
            case "hourly":
                hourly(options.seed, options.m4)
            case "speed":
                speed()
            case _:
                parser.error(f"no part {part}")
