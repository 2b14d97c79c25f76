"""Service level objectives: error budget, burn rates over pairs of windows, and exhaustion.

A burn rate of 1 spends the budget in exactly the objective's period. An alert fires while both
windows of a pair burn at the pair's rate: the long one says that it matters, the short one that it
still goes on. Source: The Site Reliability Workbook, chapter 5, table 5-8.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, Block, Part, SeriesResult
from analysis_processing.model import Finding

MINUTE_MS = 60_000
PAIRS = (
    ("5m", 5, "1h", 60, 14.4, "fast"),
    ("30m", 30, "6h", 360, 6.0, "fast"),
    ("2h", 120, "1d", 1_440, 3.0, "slow"),
    ("6h", 360, "3d", 4_320, 1.0, "slow"),
)
"""Short and long window in minutes, the burn rate at which both fire, and how urgent that is."""
FINDINGS_MAX = 50
ROWS_MAX = 20


def run(block: Block, params: dict[str, Any], _context: Any) -> Part:
    """Each series against the objective; one without samples, or that is no share, has a note."""
    budget = 1.0 - params["objective"] / 100.0
    is_latency = params["measure"] == "latency"
    steps = block.values.shape[1]
    series = []
    for labels, values in zip(block.labels, block.values, strict=True):
        samples = values[~np.isnan(values)]
        is_share = is_latency or bool(((samples >= -1e-9) & (samples <= 1 + 1e-9)).all())
        if samples.size == 0 or not is_share:
            note = "it has no samples in this range"
            if samples.size:
                span = f"from {samples.min():g} to {samples.max():g}"
                note = f"its values go {span}: they are no share of good events between 0 and 1"
            series.append(SeriesResult(labels, note=note))
            continue
        bad = np.where(values < params["threshold"], 0.0, 1.0) if is_latency else 1.0 - values
        bad = np.where(np.isnan(values), np.nan, np.clip(bad, 0.0, 1.0))
        aim = params["threshold"] if is_latency else 1.0 - budget
        columns = {"values": values, "expected": np.full(steps, aim)}
        series.append(judged(labels, bad, budget, columns, block))
    return Part(block.start_ms, block.step_ms, steps, series)


def judged(
    labels: dict[str, str], bad: F64, budget: float, columns: dict[str, F64], block: Block
) -> SeriesResult:
    """One series. bad: (time,) the bad share of each step, NaN = no sample; budget: the allowed."""
    share = float(np.nanmean(bad))
    windows = {
        name: minutes
        for short, short_minutes, long, long_minutes, *_ in PAIRS
        for name, minutes in ((short, short_minutes), (long, long_minutes))
    }
    burns = {
        name: burn(bad, minutes * MINUTE_MS // block.step_ms, budget)
        for name, minutes in windows.items()
    }
    now = {name: last(rates) for name, rates in burns.items()}
    longest = next((name for name in ("1h", "6h", "1d") if now[name] is not None), None)
    pace = share / budget if longest is None else now[longest]
    left, gone_ms = 1.0 - share / budget, None
    if left > 0 and pace:
        gone_ms = round(left / pace * int((~np.isnan(bad)).sum()) * block.step_ms)
    findings, alert = alerts(burns, block)
    facts = {
        "good": round(1.0 - share, 6),
        "budget_left": round(left, 4),
        "alert": alert,
        "gone_in_ms": 0 if left <= 0 else gone_ms,
        **{f"burn_{name}": rate if rate is None else round(rate, 2) for name, rate in now.items()},
    }
    rates = bad / budget if longest is None else burns[longest]
    return SeriesResult(labels, share / budget, facts, findings, columns | {"score": rates})


def burn(bad: F64, steps: int, budget: float) -> F64:
    """Burn rate over the last `steps` steps at each one; NaN where the range does not hold them."""
    rates = np.full(bad.size, np.nan)
    if steps < 1 or steps > bad.size:
        return rates
    is_there = ~np.isnan(bad)
    sums = np.concatenate(([0.0], np.cumsum(np.where(is_there, bad, 0.0))))
    counts = np.concatenate(([0], np.cumsum(is_there)))
    count = counts[steps:] - counts[:-steps]
    with np.errstate(invalid="ignore"):
        rates[steps - 1 :] = (
            (sums[steps:] - sums[:-steps]) / np.where(count, count, np.nan) / budget
        )
    return rates


def last(rates: F64) -> float | None:
    """The burn rate at the end of the range; None when its window is not held or empty."""
    return None if np.isnan(rates[-1]) else float(rates[-1])


def alerts(burns: dict[str, F64], block: Block) -> tuple[list[Finding], str]:
    """Stretches in which a pair of windows fired, in time order; and what fires at the end."""
    findings: list[Finding] = []
    firing = "none"
    times_ms = block.times_ms
    for short, _, long, _, rate, urgency in PAIRS:
        both = np.fmin(burns[short], burns[long])
        both[np.isnan(burns[short]) | np.isnan(burns[long])] = 0.0
        edges = np.flatnonzero(np.diff(np.concatenate(([0], both >= rate, [0])).astype(np.int8)))
        for first, end in edges.reshape(-1, 2).tolist():
            peak = first + int(np.argmax(both[first:end]))
            is_open = end == both.size
            worst = float(both[peak])
            if is_open and firing == "none":
                firing = urgency
            text = (
                f"The error budget burns {worst:.1f} times as fast as it may over {short} and "
                f"{long}; {urgency} alerts begin at {rate:g}."
            )
            findings.append(
                Finding(
                    kind="budget",
                    start_ms=int(times_ms[first]),
                    end_ms=None if is_open else int(times_ms[end - 1]),
                    peak_ms=int(times_ms[peak]),
                    size=round(worst / rate, 3),
                    value=round(worst, 3),
                    expected=1.0,
                    lower=None,
                    upper=rate,
                    direction="up",
                    text=text,
                )
            )
    findings.sort(key=lambda one: (one.start_ms, -one.size))
    return findings[-FINDINGS_MAX:], firing


def conclude(
    results: Sequence[SeriesResult], params: dict[str, Any], _context: Any
) -> dict[str, Any]:
    """How many series keep the objective, in a sentence; and a table, the most spent first."""
    judged = sorted((one for one in results if one.note is None), key=lambda one: -one.score)
    broken = sum(one.facts["budget_left"] <= 0 for one in judged)
    firing = sum(one.facts["alert"] != "none" for one in judged)
    sentence = f"No series could be judged by the objective of {params['objective']:g} %."
    if judged:
        worst = judged[0]
        names = ", ".join(f"{name}={value}" for name, value in sorted(worst.labels.items()))
        sentence = (
            f"{len(judged) - broken} of {len(judged)} series keep the objective of "
            f"{params['objective']:g} %; alerts fire for {firing}; the worst is "
            f"{names or 'the one series'} with {100 * worst.facts['budget_left']:.1f} % of its "
            "error budget left."
        )
    rows = [{"labels": one.labels, **one.facts} for one in judged[:ROWS_MAX]]
    return {"sentence": sentence, "objectives": rows}
