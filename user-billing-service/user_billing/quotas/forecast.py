"""What a meter will have counted at the end of a period. Pure, and exact until the last step.

    a week of hours or more   profile: of each hour of the week the median over up to 4 weeks,
                              times the level: the last two days against the profile
    less                      linear: the mean of the hours there are

The band: the same with the level of a low and of a high day (10th and 90th percentile, nearest
rank, of the days there are); with less than three days half and twice as much. Hours without a row
are hours without usage. Source: docs/adr/0041-quotas-and-guards.md.
"""

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import accumulate
from statistics import median
from typing import Final

from user_billing.meters.rules import Number, quantity
from user_billing.rating.model import Period

HOUR: Final = timedelta(hours=1)
WEEK_HOURS: Final = 168
HISTORY: Final = timedelta(weeks=4)
RECENT_HOURS: Final = 48
LEVEL_MAX: Final = Fraction(10)
"""A profile of hardly anything must not turn two busy days into a fortune."""
DAYS_MIN: Final = 3
FLAT: Final = (Fraction(1),) * WEEK_HOURS


class Method(StrEnum):
    """How a forecast was made."""

    NONE = "none"
    LINEAR = "linear"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Model:
    """An hour of the week (from the epoch) has profile × level, the level in low..high."""

    method: Method
    profile: Sequence[Fraction]
    level: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True)
class Forecast:
    """At the end of `period`. reached_at: the hour in which the limit is reached; None: not in it.

    used: so far, of a level its highest hour.
    """

    period: Period
    method: Method
    used: Number
    quantity: Number
    low: Number
    high: Number
    reached_at: datetime | None = None


def start_of_hour(at: datetime) -> datetime:
    """The beginning of the hour, UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def slot(hour: datetime) -> int:
    """Which hour of the week it is, 0 to 167."""
    return int(hour.timestamp()) // 3600 % WEEK_HOURS


def total(quantities: Iterable[Decimal | Fraction], *, is_level: bool) -> Fraction:
    """What hours count together: their sum, or of a level the highest."""
    exact = [Fraction(quantity) for quantity in quantities]
    return max(exact, default=Fraction(0)) if is_level else sum(exact, Fraction(0))


def model(hours: Mapping[datetime, Decimal], now: datetime) -> Model:
    """Of the whole hours before `now`. hours: quantity by beginning of the hour."""
    current = start_of_hour(now)
    first = max(min(hours, default=current), current - HISTORY)
    count = int((current - first) / HOUR)
    complete = [first + n * HOUR for n in range(count)]
    counted = [Fraction(hours.get(hour, 0)) for hour in complete]
    if count >= WEEK_HOURS:
        slots: list[list[Fraction]] = [[] for _ in range(WEEK_HOURS)]
        for hour, of_hour in zip(complete, counted, strict=True):
            slots[slot(hour)].append(of_hour)
        profile = [Fraction(median(of_slot)) for of_slot in slots]
        if any(profile):
            expected = [profile[slot(hour)] for hour in complete]
            recent = RECENT_HOURS if any(expected[-RECENT_HOURS:]) else WEEK_HOURS
            level = sum(counted[-recent:], Fraction(0)) / sum(expected[-recent:], Fraction(0))
            return _model(Method.PROFILE, profile, min(level, LEVEL_MAX), _days(counted, expected))
    level = sum(counted, Fraction(0)) / count if count else Fraction(hours.get(current, 0))
    days = _days(counted, [Fraction(1)] * count)
    return _model(Method.LINEAR if level else Method.NONE, FLAT, level, days)


def _days(counted: Sequence[Fraction], expected: Sequence[Fraction]) -> list[Fraction]:
    """The level of each of the last days, counted back from now."""
    ends = range(len(counted), 23, -24)
    days = [(sum(counted[n - 24 : n]), sum(expected[n - 24 : n])) for n in ends]
    return sorted(Fraction(day) / Fraction(of) for day, of in days if of)


def _model(
    method: Method, profile: Sequence[Fraction], level: Fraction, days: Sequence[Fraction]
) -> Model:
    if len(days) < DAYS_MIN:
        return Model(method, profile, level, level / 2, level * 2)
    low, high = days[-(-len(days) // 10) - 1], days[-(-9 * len(days) // 10) - 1]
    return Model(method, profile, level, min(level, low), max(level, high))


def forecast(
    hours: Mapping[datetime, Decimal],
    now: datetime,
    period: Period,
    *,
    is_level: bool = False,
    limit: Decimal | None = None,
) -> Forecast:
    """Where the meter stands when `period` ends.

    hours: of the four weeks before `now` and of the period. is_level: the period's quantity is that
    of its highest hour, else their sum.
    """
    of = model(hours, now)
    current = start_of_hour(now)
    counted = {hour: Fraction(n) for hour, n in hours.items() if period.start <= hour <= current}
    used = total(counted.values(), is_level=is_level)
    coming = [current + n * HOUR for n in range(1, int((period.end - current) / HOUR))]
    join: Callable[[Fraction, Fraction], Fraction] = max if is_level else operator.add
    running = list(accumulate((of.profile[slot(hour)] for hour in coming), join)) or [Fraction(0)]

    def after_this_hour(level: Fraction) -> Fraction:
        whole = of.profile[slot(current)] * level
        if is_level:
            return max(used, whole)
        return used + max(whole - counted.get(current, Fraction(0)), Fraction(0))

    def at_end(level: Fraction) -> Decimal:
        return quantity(join(after_this_hour(level), running[-1] * level))

    def reached_at(level: Fraction, wanted: Fraction) -> datetime | None:
        begun = after_this_hour(level)
        if begun >= wanted:
            return current
        if not level:
            return None
        place = bisect_left(running, (wanted - (0 if is_level else begun)) / level)
        return coming[place] if place < len(coming) else None

    return Forecast(
        period, of.method, quantity(used), at_end(of.level), at_end(of.low), at_end(of.high),
        None if limit is None else reached_at(of.level, Fraction(limit)),
    )  # fmt: skip
