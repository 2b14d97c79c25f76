"""Steps that several analyses share: order statistics of rows, a bound on false discoveries, words.

Everything stands any float64: infinities count as the largest number, sizes are divided out first.
"""

from datetime import UTC, datetime

import numpy as np

from analysis_processing.analyses.block import F64
from analysis_processing.model import Finding, Labels

LARGEST = float(np.finfo(np.float64).max)
LABELS_SHOWN_MAX = 4


def bounded(values: F64) -> F64:
    """A quarter of the values, ±Inf as the largest number: no difference or span overflows."""
    quarter: F64 = np.clip(values, -LARGEST, LARGEST) * 0.25
    return quarter


def quantiles(values: F64, *shares: float) -> F64:
    """(shares, series): the sample of that rank in each row, NaN left out; NaN for an empty row."""
    ordered = np.sort(values, axis=1)
    last = np.maximum(np.count_nonzero(~np.isnan(values), axis=1) - 1, 0)
    ranks = np.rint(np.multiply.outer(shares, last)).astype(np.int64)
    picked: F64 = ordered[np.arange(len(values)), ranks]
    return picked


def standardised(values: F64, reach: float) -> F64:
    """Each row around its median in its own spread, at most ±`reach`; NaN stays.

    The spread is the 10-90 % range as a standard deviation, or the largest distance where that is
    0 (a row of mostly one value); a constant row becomes 0.
    """
    quarter = bounded(values)
    low, median, high = quantiles(quarter, 0.1, 0.5, 0.9)[:, :, None]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        distances = quarter - median
        spreads = (high - low) / 2.563
        widest = np.fmax.reduce(np.abs(distances), axis=1, keepdims=True, initial=0.0)
        units = np.where(spreads > 0, spreads, np.where(widest > 0, widest, 1.0))
        scaled: F64 = np.clip(distances / units, -reach, reach)
    return scaled


def discovery_bound(chances: F64, share: float) -> float:
    """The largest chance that is a discovery when at most `share` of those may be false; or -1.

    A hair above it, since the same series in another chunk is summed up in another order.
    Source: Benjamini and Hochberg 1995.
    """
    ordered = np.sort(chances)
    passing = np.flatnonzero(ordered <= share * np.arange(1, ordered.size + 1) / ordered.size)
    return float(ordered[passing[-1]]) * (1.0 + 1e-6) if passing.size else -1.0


def move(
    kind: str,
    times_ms: tuple[int, int | None],
    size: float,
    levels: tuple[float, float],
    text: str,
    *,
    peak_ms: int | None = None,
) -> Finding:
    """A finding: a level went from the first of `levels` to the second. times_ms: start, end."""
    before, after = levels
    return Finding(
        kind=kind,
        start_ms=times_ms[0],
        end_ms=times_ms[1],
        peak_ms=times_ms[0] if peak_ms is None else peak_ms,
        size=round(size, 3),
        value=number(after),
        expected=number(before),
        lower=None,
        upper=None,
        direction="up" if after > before else "down",
        text=text,
    )


def number(value: float) -> float | None:
    """The value to six digits, as JSON carries it: None where it is not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def shown(value: float) -> str:
    """The value to four digits, as a sentence carries it."""
    return f"{value:.4g}"


def clock(time_ms: int) -> str:
    """The time in words, UTC."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def span(duration_ms: int) -> str:
    """A duration in its largest whole unit, such as 3 min or 1 d."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if duration_ms >= unit_ms and duration_ms % unit_ms == 0:
            return f"{duration_ms // unit_ms} {unit}"
    return f"{duration_ms / 1000:g} s"


def short_name(labels: Labels) -> str:
    """The series as people write it, with its first few labels."""
    pairs = [f'{name}="{labels[name]}"' for name in sorted(labels) if name != "__name__"]
    more = ", …" if len(pairs) > LABELS_SHOWN_MAX else ""
    return f"{labels.get('__name__', '')}{{{', '.join(pairs[:LABELS_SHOWN_MAX])}{more}}}"
