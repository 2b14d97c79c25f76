"""Time to full: when a forecast and its bounds reach a limit, and how to say so."""

from dataclasses import dataclass

import numpy as np

from analysis_processing.analyses.block import F64
from analysis_processing.model import Finding

UNITS_MS = (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


@dataclass(frozen=True, slots=True)
class TimeToFull:
    """From the end of the history, in ms; None = not within the horizon. earliest ≤ latest."""

    expected_ms: int | None
    earliest_ms: int | None
    latest_ms: int | None


def spelled(duration_ms: float) -> str:
    """A duration for people, to two digits: 6.2 days, 45 min."""
    unit, unit_ms = next((of for of in UNITS_MS if duration_ms >= of[1]), UNITS_MS[-1])
    amount = duration_ms / unit_ms
    return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.2g} {unit}"


def readable(number: float) -> str:
    """A number to three digits, thousands as k M G T P: 500 G."""
    power = 0 if number == 0 else int(np.clip(np.floor(np.log10(abs(number)) / 3), 0, 5))
    return f"{number / 1000.0**power:.3g} {' kMGTP'[power]}".strip()


def crossing(path: F64, now: float, limit: float, step_ms: int) -> int | None:
    """How long until `path`, going on from `now`, is at `limit` or above it; None = never."""
    if now >= limit:
        return 0
    over = np.flatnonzero(path >= limit)
    if over.size == 0:
        return None
    first = int(over[0])
    before = now if first == 0 else float(path[first - 1])
    share = (limit - before) / (float(path[first]) - before)
    return round((first + share) * step_ms)


def time_to_full(
    columns: dict[str, F64], now: float, limit: float, direction: str, step_ms: int
) -> TimeToFull:
    """When the expectation reaches the limit, and the nearer and the farther bound."""
    sign = 1.0 if direction == "up" else -1.0
    order = ("upper", "lower") if direction == "up" else ("lower", "upper")
    expected, earliest, latest = (
        crossing(sign * columns[name], sign * now, sign * limit, step_ms)
        for name in ("expected", *order)
    )
    return TimeToFull(expected, earliest, latest)


def urgency(time: TimeToFull, horizon_ms: int) -> float:
    """100 for full now, 50 at the horizon, below 34 for what only may be full before it."""
    if time.expected_ms is not None:
        return 100.0 * horizon_ms / (horizon_ms + time.expected_ms)
    if time.earliest_ms is not None:
        return 100.0 * horizon_ms / (3.0 * horizon_ms + time.earliest_ms)
    return 0.0


def finding(
    time: TimeToFull,
    columns: dict[str, F64],
    *,
    now: float,
    limit: float,
    direction: str,
    end_ms: int,
    horizon_ms: int,
) -> Finding | None:
    """What to tell people, or None where the limit is out of reach within the horizon.

    now: the last sample. The band of the finding is that of the horizon's end.
    """
    at_ms = time.expected_ms if time.expected_ms is not None else time.earliest_ms
    if at_ms is None:
        return None
    verb, beyond = ("reaches", "over") if direction == "up" else ("falls to", "under")
    if at_ms == 0:
        text = f"is at {readable(now)}, at or {beyond} {readable(limit)} already"
    elif time.expected_ms is None:
        text = (
            f"may be at {readable(limit)} in {spelled(at_ms)} at the earliest, "
            f"but is not expected to be within {spelled(horizon_ms)}"
        )
    else:
        earliest = spelled(time.earliest_ms or 0)
        latest = spelled(time.latest_ms) if time.latest_ms else f"more than {spelled(horizon_ms)}"
        text = f"{verb} {readable(limit)} in {spelled(at_ms)} ({earliest} to {latest})"
    return Finding(
        kind="full",
        start_ms=end_ms + at_ms,
        end_ms=None,
        peak_ms=end_ms + at_ms,
        size=urgency(time, horizon_ms),
        value=now,
        expected=float(columns["expected"][-1]),
        lower=float(columns["lower"][-1]),
        upper=float(columns["upper"][-1]),
        direction=direction,
        text=text,
    )
