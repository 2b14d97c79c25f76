"""How good and how fast anomaly detection is, on labelled synthetic series with fixed seeds.

    .venv/bin/python benchmarks/bench_anomaly.py [series a case]

Ten days of 5-minute samples a series. Nothing is unusual in the first three days; alarms from the
third day on count (the first two are for learning). An alarm is true when its episode touches a
labelled span (3 samples of slack); a span is found when some alarm touches it. The return from an
outage or a level shift may alarm once more: it is neither true nor false when within the slack of
the span's end.
"""

import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import synthetic  # noqa: E402  found beside the tests

from analysis_processing.analyses.anomaly.run import Detector, directed, episodes, threshold_of  # noqa: E402

SLACK = 3
SEASONS = (12, 288, 2016)


def main(series: int) -> None:
    """Print a row a case: recall, precision, false alarms a series-day; then the speed."""
    print(
        f"{'case':24}{'spans':>6}{'recall':>8}{'alarms':>8}{'precision':>10}{'false/series-day':>18}"
    )
    totals = np.zeros(4)
    for case, make in synthetic.CASES.items():
        made = [make(np.random.default_rng([11, row])) for row in range(series)]
        block = np.stack([values for values, _ in made])
        judged = Detector(series, SEASONS, 64).advance(block, 0)
        spans = found = true = false = 0
        for row, (_, labelled) in enumerate(made):
            alarms = [
                (first, last)
                for first, last, _ in episodes(
                    directed(judged.scores[row], "both"), threshold_of(0.5), 10
                )
                if first >= 2 * synthetic.DAY
            ]
            touched = [
                any(first <= end + SLACK and last >= start - SLACK for start, end in labelled)
                for first, last in alarms
            ]
            spans += len(labelled)
            found += sum(
                any(first < end and last >= start for first, last in alarms)
                for start, end in labelled
            )
            true += sum(touched)
            false += len(alarms) - sum(touched)
        days = series * 8
        totals += [spans, found, true, false]
        recall = f"{found / spans:.3f}" if spans else "-"
        precision = f"{true / (true + false):.3f}" if true else "-"
        print(
            f"{case:24}{spans:>6}{recall:>8}{true + false:>8}{precision:>10}{false / days:>18.4f}"
        )
    spans, found, true, false = totals
    print(
        f"{'all':24}{spans:>6.0f}{found / spans:>8.3f}{true + false:>8.0f}"
        f"{true / (true + false):>10.3f}"
        f"{false / (series * 8 * len(synthetic.CASES)):>18.4f}"
    )
    block = np.random.default_rng(5).normal(size=(256, 10_080))
    for seasons in ((), (60, 1440, 10_080)):
        detector = Detector(256, seasons, 64)
        started_s = time.process_time()
        detector.advance(block, 0)
        elapsed_s = time.process_time() - started_s
        print(f"{len(seasons)} seasons: {block.size / elapsed_s / 1e6:.2f} M samples a CPU second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
