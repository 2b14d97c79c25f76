"""Which hours look like a mistake in a configuration, and since when. Pure.

    an hour ≥ 1.5 × expected, and over it by 6 spreads and by a floor ─▶ an anomaly begins
    while hours are ≥ 1.25 × expected                                 ─▶ it goes on
    for a week                                                        ─▶ that is how it is: lasting

Expected is the median of the same hour of the week in up to four weeks before the anomaly, but not
below the median of the last day before it, so that who grew lately is measured by what they are.
The spread is 1.4826 × the median absolute deviation, at least a tenth of the expected. A start from
nothing, and less than a day of history, is no anomaly. Source: docs/adr/0041-quotas-and-guards.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from statistics import median
from typing import Final

from user_billing.meters.rules import quantity
from user_billing.quotas.forecast import HOUR

BEGINS: Final = Fraction(3, 2)
GOES_ON: Final = Fraction(5, 4)
SPREADS: Final = 6
NORMAL: Final = Fraction(14826, 10000)
"""A median absolute deviation as a standard deviation."""
SPREAD_MIN: Final = Fraction(1, 10)
FLOORS: Final = {"samples": 50_000, "active_series": 1_000}
"""Less than this above what is expected in an hour is nobody's bill. These meters are watched."""
DAY: Final = 24
WEEK: Final = timedelta(weeks=1)
LASTS: Final = timedelta(weeks=1)
BEGINNING: Final = 24
"""Hours to look back for the beginning."""
HISTORY: Final = 5 * WEEK
"""Of hours, before the hour looked at, that all this needs."""
TWICE: Final = (Fraction(9, 5), Fraction(11, 5))


class State(StrEnum):
    """What became of an anomaly."""

    OPEN = "open"
    ENDED = "ended"
    LASTING = "lasting"
    """a week long: the new normal, measured against from here on"""
    DISMISSED = "dismissed"


class Kind(StrEnum):
    """What it looks like."""

    DUPLICATED = "duplicated"
    """about twice the series, or twice the samples of the same series"""
    MORE_SERIES = "more_series"
    DENSER = "denser"
    """more samples of about the same series"""


@dataclass(frozen=True, slots=True)
class Episode:
    """An anomaly as the hours show it. until: the first hour that is as expected again."""

    until: datetime | None
    state: State
    expected: Decimal
    actual: Decimal


Hours = Mapping[datetime, Decimal]


def expected(hours: Hours, since: datetime, hour: datetime) -> tuple[Fraction, Fraction] | None:
    """What `hour` should have had, and the spread of that, by the hours before `since`.

    None with less than a day of them, or when they had nothing.
    """
    first = min(hours, default=since)
    if (since - first) < DAY * HOUR:
        return None
    day = [Fraction(hours.get(since - n * HOUR, 0)) for n in range(1, DAY + 1)]
    weeks = [hour - n * WEEK for n in range(1, 5)]
    same = [Fraction(hours.get(one, 0)) for one in weeks if first <= one < since]
    normal = [*same, median(day)] if len(same) >= 2 else day
    middle = max(Fraction(median(same)), median(day)) if len(same) >= 2 else median(day)
    deviation = Fraction(median([abs(one - middle) for one in normal]))
    return (middle, max(NORMAL * deviation, SPREAD_MIN * middle)) if middle else None


def begins(meter: str, hours: Hours, hour: datetime) -> bool:
    """Whether `hour` alone looks like a mistake."""
    normal = expected(hours, hour, hour)
    if normal is None:
        return False
    more = Fraction(hours.get(hour, 0)) - normal[0]
    over = more >= (BEGINS - 1) * normal[0] and more >= SPREADS * normal[1]
    return over and more >= FLOORS[meter]


def beginning(meter: str, hours: Hours, last: datetime, after: datetime | None) -> datetime | None:
    """Since when an anomaly goes on in the hour `last`; None when there is none.

    after: when the last one ended; earlier hours belong to that one. At most a day is looked back.
    """
    for n in range(BEGINNING, -1, -1):
        hour = last - n * HOUR
        if (
            (after is None or hour >= after)
            and begins(meter, hours, hour)
            and episode(hours, hour, last).state is State.OPEN
        ):
            return hour
    return None


def episode(hours: Hours, since: datetime, last: datetime) -> Episode:
    """The anomaly that began at `since`, up to and with the hour `last`."""
    hour, state = since, State.OPEN
    while hour <= last and state is State.OPEN:
        if not _goes_on(hours, since, hour):
            state = State.ENDED
        elif hour - since >= LASTS:
            state = State.LASTING
        else:
            hour += HOUR
    actual, normal = totals(hours, since, hour)
    until = None if state is State.OPEN else hour
    return Episode(until, state, quantity(normal), quantity(actual))


def totals(hours: Hours, since: datetime, end: datetime) -> tuple[Fraction, Fraction]:
    """What the hours in [since, end) had and should have had, of those with history."""
    actual = normal = Fraction(0)
    for n in range(int((end - since) / HOUR)):
        if expects := expected(hours, since, since + n * HOUR):
            actual += Fraction(hours.get(since + n * HOUR, 0))
            normal += expects[0]
    return actual, normal


def _goes_on(hours: Hours, since: datetime, hour: datetime) -> bool:
    normal = expected(hours, since, hour)
    return normal is not None and Fraction(hours.get(hour, 0)) >= GOES_ON * normal[0]


def factor(actual: Decimal | Fraction, normal: Decimal | Fraction) -> Fraction:
    """How many times the expected there was; 1 where nothing was expected."""
    return Fraction(actual) / Fraction(normal) if normal else Fraction(1)


def kind(meter: str, times: Fraction, series: Fraction) -> Kind:
    """What an anomaly looks like. series: the factor of active series meanwhile."""
    if TWICE[0] <= times <= TWICE[1]:
        return Kind.DUPLICATED
    return Kind.DENSER if meter == "samples" and series < GOES_ON else Kind.MORE_SERIES
