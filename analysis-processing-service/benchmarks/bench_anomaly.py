"""How good and how fast anomaly detection is, on labelled synthetic series.

    .venv/bin/python benchmarks/bench_anomaly.py [--series 40] [--seed N] [--only recall]

Default parameters, new random seeds each run unless `--seed` fixes them; the one used is printed.

cases   ten days of 5-minute samples. Nothing is unusual in the first three; alarms count from the
        third on. An alarm is true when its episode touches a labelled span (3 samples of slack); a
        span is found when some alarm touches it.
recall  a minute's samples: each base broken by each kind after 5 to 6 days (daily+weekly: 15 to
        16). Found: an alarm that began no earlier than the break by 2 h is raised before it is over
        (a lasting one: within 3 h). Then the share found, and the median delay in minutes.
false   alarms a series-day on what nothing breaks, the first day on, a week at three steps.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import synthetic  # noqa: E402  found beside the tests

from analysis_processing.analyses import resolved_params  # noqa: E402
from analysis_processing.analyses.anomaly.detector import Detector, Episode  # noqa: E402

SLACK = 3
MINUTE_MS = 60_000
DAY = 1440


def alarms_of(block: np.ndarray, step_ms: int) -> list[list[Episode]]:
    """The final episodes of each series."""
    made: list[list[Episode]] = [[] for _ in block]
    params = resolved_params("anomaly", {}, step_ms)
    for episode in Detector(len(block), params, step_ms).advance(block, 0).episodes:
        made[episode.series].append(episode)
    return made


def cases(series: int, seed: int) -> None:
    """A row a case: recall, precision, false alarms a series-day."""
    print(
        f"\n{'case':24}{'spans':>6}{'recall':>8}{'alarms':>8}{'precision':>10}{'false a day':>12}"
    )
    for case, make in synthetic.CASES.items():
        made = [make(np.random.default_rng([seed, row])) for row in range(series)]
        spans = noticed = true = false = 0
        alarms = alarms_of(np.stack([values for values, _ in made]), 5 * MINUTE_MS)
        kinds: dict[str, int] = {}
        for (_, labelled), episodes in zip(made, alarms, strict=True):
            later = [e for e in episodes if e.start_step >= 2 * synthetic.DAY]
            touched = [
                any(
                    e.start_step <= end + SLACK and e.end_step >= start - SLACK
                    for start, end in labelled
                )
                for e in later
            ]
            spans += len(labelled)
            noticed += sum(
                any(e.start_step < end and e.end_step >= start for e in later)
                for start, end in labelled
            )
            true += sum(touched)
            false += len(later) - sum(touched)
            for e, is_true in zip(later, touched, strict=True):
                if not is_true:
                    kinds[e.kind] = kinds.get(e.kind, 0) + 1
        recall = f"{noticed / spans:.3f}" if spans else "-"
        precision = f"{true / (true + false):.3f}" if true else "-"
        print(
            f"{case:24}{spans:>6}{recall:>8}{true + false:>8}{precision:>10}"
            f"{false / (series * 8):>12.4f}",
            kinds or "",
        )


def raised(block: np.ndarray, first: int, step_ms: int) -> list[dict[tuple[int, int], int]]:
    """For each series, when the alarm of each (start, peak) was raised, from `first` on."""
    params = resolved_params("anomaly", {}, step_ms)
    detector = Detector(len(block), params, step_ms)
    detector.advance(block[:, :first], 0)
    made: list[dict[tuple[int, int], int]] = [{} for _ in block]
    for at in range(first, block.shape[1], 3):
        columns = block[:, at : at + 3]
        for e in detector.advance(columns, at).episodes:
            if e.opened:
                made[e.series][e.start_step, e.peak_step] = at + columns.shape[1] - 1
    return made


def recall(series: int, seed: int) -> None:
    """Bases down, kinds across: the share found and the median delay in minutes."""
    print(f"\n{'base':14}" + "".join(f"{kind:>12}" for kind in synthetic.KINDS))
    for base, make in synthetic.BASES.items():
        cells = []
        for kind_at, kind in enumerate(synthetic.KINDS):
            rows, places = [], []
            days = 15 if base == "daily+weekly" else 5
            for row in range(series):
                rng = np.random.default_rng([seed, kind_at, row])
                at = days * DAY + int(rng.integers(0, DAY))
                values = make(rng, (days + 1) * DAY + 400, DAY)
                rows.append(synthetic.broken(rng, values, kind, at))
                places.append(at)
            first = days * DAY - 1
            delays = []
            for at, (_, steps), seen in zip(
                places, rows, raised(np.stack([v for v, _ in rows]), first, MINUTE_MS), strict=True
            ):
                times = [
                    when
                    for (start, _), when in seen.items()
                    if start >= at - 120 and at <= when <= at + min(max(steps, 5), 180) + 2
                ]
                if times:
                    delays.append(min(times) - at)
            middle = f"{np.median(delays):.0f}" if delays else "-"
            cells.append(f"{len(delays) / series:.2f} {middle:>4}")
        print(f"{base:14}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def false_alarms(series: int, seed: int) -> None:
    """Distributions down, steps across: alarms a series-day from the first day on; by kind."""
    print(f"\n{'ordinary':16}{'15 s':>8}{'1 min':>8}{'5 min':>8}")
    for name, make in synthetic.ORDINARY.items():
        cells, kinds = [], {}
        for step_s in (15, 60, 300):
            day = 86_400 // step_s
            block = np.stack(
                [make(np.random.default_rng([seed, step_s, r]), 7 * day) for r in range(series)]
            )
            count = 0
            for episodes in alarms_of(block, step_s * 1000):
                for e in episodes:
                    count += 1
                    kinds[e.kind] = kinds.get(e.kind, 0) + 1
            cells.append(f"{count / (7 * series):>8.3f}")
        print(f"{name:16}" + "".join(cells), kinds, flush=True)


def speed() -> None:
    """Samples a CPU second; one column of many series; bytes a series."""
    block = np.random.default_rng(5).normal(size=(64, 10_080))
    for season in ("none", "auto"):
        params = resolved_params("anomaly", {"season": season}, MINUTE_MS)
        detector = Detector(64, params, MINUTE_MS)
        started_s, clock_s = time.process_time(), time.perf_counter()
        detector.advance(block, 0)
        cpu_s, elapsed_s = time.process_time() - started_s, time.perf_counter() - clock_s
        print(
            f"season {season}: {block.size / cpu_s / 1e6:.2f} M samples a CPU second, "
            f"{block.size / elapsed_s / 1e6:.2f} M a second"
        )
    many = detector.arranged([row % 64 for row in range(10_000)])
    started_s = time.process_time()
    many.advance(np.random.default_rng(6).normal(size=(10_000, 1)), 10_080)
    print(f"one column of 10,000 series: {(time.process_time() - started_s) * 1000:.0f} ms of CPU")
    size = (many.state.nbytes + many.memory.nbytes) / 10_000
    print(f"state: {size:.0f} bytes a series, {len(detector.save()) / 64:.0f} saved")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--seed", type=int, default=int(np.random.SeedSequence().entropy % 10**6))  # type: ignore[operator]
    parser.add_argument("--only", choices=("cases", "recall", "false", "speed"))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.series} series a cell")
    for part, table in (("cases", cases), ("recall", recall), ("false", false_alarms)):
        if options.only in (None, part):
            table(options.series, options.seed)
    if options.only in (None, "speed"):
        speed()
