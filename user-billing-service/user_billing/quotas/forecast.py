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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import accumulate
from statistics import median
from typing import Final

from user_billing.money.rules import EXACT
from user_billing.rating.model import Period

HOUR: Final = timedelta(hours=1)
WEEK_HOURS: Final = 168
HISTORY: Final = timedelta(weeks=4)
RECENT_HOURS: Final = 48
LEVEL_MAX: Final = Fraction(10)
"""A profile of hardly anything must not turn two busy days into a fortune."""
DAYS_MIN: Final = 3
_SCALE: Final = 10**9


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
    used: Decimal
    quantity: Decimal
    low: Decimal
    high: Decimal
    reached_at: datetime | None = None


def start_of_hour(at: datetime) -> datetime:
    """The beginning of the hour, UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def slot(hour: datetime) -> int:
    """Which hour of the week it is, 0 to 167."""
    return int(hour.timestamp()) // 3600 % WEEK_HOURS


def model(hours: Mapping[datetime, Decimal], now: datetime) -> Model:
    """Of the whole hours before `now`. hours: quantity by beginning of the hour."""
    current = start_of_hour(now)
    first = max(min(hours, default=current), current - HISTORY)
    count = int((current - first) / HOUR)
    complete = [first + n * HOUR for n in range(count)]
    counted = [Fraction(hours.get(hour, 0)) for hour in complete]
    if not counted:
        begun = Fraction(hours.get(current, 0))
        return _model(
            Method.LINEAR if begun else Method.NONE, [Fraction(1)] * WEEK_HOURS, begun, []
        )
    if count >= WEEK_HOURS:
        slots: list[list[Fraction]] = [[] for _ in range(WEEK_HOURS)]
        for hour, quantity in zip(complete, counted, strict=True):
            slots[slot(hour)].append(quantity)
        profile = [Fraction(median(quantities)) for quantities in slots]
        if any(profile):
            expected = [profile[slot(hour)] for hour in complete]
            recent = RECENT_HOURS if any(expected[-RECENT_HOURS:]) else WEEK_HOURS
            level = sum(counted[-recent:], Fraction(0)) / sum(expected[-recent:], Fraction(0))
            return _model(Method.PROFILE, profile, min(level, LEVEL_MAX), _days(counted, expected))
    level = sum(counted, Fraction(0)) / count
    method = Method.LINEAR if level else Method.NONE
    flat = [Fraction(1)] * WEEK_HOURS
    return _model(method, flat, level, _days(counted, [Fraction(1)] * count))


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
    in_period = {hour: Fraction(n) for hour, n in hours.items() if period.start <= hour <= current}
    counted = in_period.values()
    used = max(counted, default=Fraction(0)) if is_level else sum(counted, Fraction(0))
    coming = [current + n * HOUR for n in range(1, int((period.end - current) / HOUR))]
    profile = [of.profile[slot(hour)] for hour in coming]
    join: Callable[[Fraction, Fraction], Fraction] = max if is_level else operator.add
    running = list(accumulate(profile, join)) or [Fraction(0)]
    wanted = None if limit is None else Fraction(limit)

    def after_this_hour(level: Fraction) -> Fraction:
        whole = of.profile[slot(current)] * level
        if is_level:
            return max(used, whole)
        return used + max(whole - in_period.get(current, Fraction(0)), Fraction(0))

    def at_end(level: Fraction) -> Fraction:
        rest, begun = running[-1] * level, after_this_hour(level)
        return max(begun, rest) if is_level else begun + rest

    def reached_at(level: Fraction) -> datetime | None:
        begun = after_this_hour(level)
        if wanted is None or begun >= wanted or not level:
            return None if wanted is None or begun < wanted else current
        place = bisect_left(running, (wanted - (0 if is_level else begun)) / level)
        return coming[place] if place < len(coming) else None

    return Forecast(
        period,
        of.method,
        decimal(used),
        decimal(at_end(of.level)),
        decimal(at_end(of.low)),
        decimal(at_end(of.high)),
        reached_at(of.level),
    )


def decimal(value: Fraction) -> Decimal:
    """With nine decimals, half away from zero; `value` is not negative."""
    scaled = (2 * value.numerator * _SCALE + value.denominator) // (2 * value.denominator)
    return Decimal(scaled).scaleb(-9, EXACT)
