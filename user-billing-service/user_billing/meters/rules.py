"""Meters, and how the hours of one become the quantity of a period. Pure.

    hour    what is kept of one hour: a quantity, 60 numbers by minute, or distinct values
    period  the hours that begin in [start, end), aggregated by the meter's own rule

A meter never changes: another rule is another meter. Source: docs/adr/0039-metering.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Final

from pydantic import PlainSerializer

from user_billing.errors import BadInput
from user_billing.model import Audience

DECIMALS: Final = 9
"""Of a quantity."""
CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
OWN_MAX: Final = 100
"""Meters of an organisation."""
TEXT_CHARS_MAX: Final = 500
"""Of a unit and of a rule."""
GIB: Final = 2**30
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
WIDE: Final = Context(prec=60)
"""Holds every quantity exactly."""


class Aggregation(StrEnum):
    """What a period's quantity is of the hours in it."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    LATEST = "latest"
    UNIQUE = "unique"
    P95 = "p95"
    TIME_AVERAGE = "time_average"


RULES: Final[Mapping[Aggregation, str]] = {
    Aggregation.SUM: "the sum of the values",
    Aggregation.COUNT: "the number of events",
    Aggregation.MAX: "the largest value",
    Aggregation.LATEST: "the value with the latest time; of several, the largest",
    Aggregation.UNIQUE: "the number of distinct values",
    Aggregation.P95: (
        "95th percentile, nearest rank: of the n minutes of all hours that have a number, in"
        " ascending order, the one at place ceil(0.95 n); a minute is its largest value, 0"
        " without one"
    ),
    Aggregation.TIME_AVERAGE: (
        "the mean over all hours of the period; an hour is the mean of its values, to 9 decimals,"
        " and 0 without one"
    ),
}


@dataclass(frozen=True, slots=True)
class Meter:
    """Something that is counted. code: as plans name it. rule: what counts, in words.

    counted_as: its name in hourly rows. source: who counts it, None for the organisation's own
    events. divisor: how many of what is counted are one `unit`.
    """

    code: str
    unit: str
    aggregation: Aggregation
    rule: str
    counted_as: str
    source: Audience | None = None
    divisor: int = 1

    @property
    def by_minute(self) -> bool:
        """Whether an hour is 60 numbers, whose largest is its quantity."""
        return self.aggregation is Aggregation.P95

    @property
    def aggregation_rule(self) -> str:
        """What its aggregation is, in words."""
        return RULES[self.aggregation]


def own(code: str, unit: str, aggregation: Aggregation, rule: str) -> Meter:
    """A meter of an organisation's own events."""
    return Meter(code, unit, aggregation, rule, code)


def check(meter: Meter) -> None:
    """Raises BadInput when an organisation cannot have this meter."""
    if not CODE.fullmatch(meter.code):
        raise BadInput(field="code", value=meter.code, needs="a-z, 0-9 and _, from a letter, <= 63")
    if any(meter.code in {one.code, one.counted_as} for one in BUILT_IN):
        raise BadInput(field="code", value=meter.code, needs="a code that no other meter has")
    for field, text, needed in (("unit", meter.unit, 1), ("rule", meter.rule, 0)):
        if not needed <= len(text) <= TEXT_CHARS_MAX or not text.isprintable():
            raise BadInput(field=field, chars_max=TEXT_CHARS_MAX, needs="printable text")


BUILT_IN: Final = (
    Meter(
        "samples_ingested", "samples", Aggregation.SUM,
        "samples stored for the first time; rejected and repeated ones are free",
        "samples", Audience.DIS,
    ),
    Meter(
        "active_series", "series", Aggregation.P95,
        f"series with a sample in a minute; {RULES[Aggregation.P95]}",
        "active_series", Audience.DIS,
    ),
    Meter(
        "stored_gib_month", "GiB", Aggregation.TIME_AVERAGE,
        f"bytes in the store / 2^30; {RULES[Aggregation.TIME_AVERAGE]}",
        "stored_bytes", Audience.DIS, GIB,
    ),
    Meter(
        "query_samples", "samples", Aggregation.SUM,
        "samples that queries and rules read; a query that ends in an error is free",
        "query_samples", Audience.DAS,
    ),
    Meter(
        "analysis_runs", "runs", Aggregation.SUM,
        "analyses that ended with a result; failed and cancelled ones are free",
        "analysis_runs", Audience.APS,
    ),
    Meter(
        "seats", "members", Aggregation.MAX,
        "the most members in any hour of the period",
        "seats", Audience.UBS,
    ),
)  # fmt: skip
BY_NAME: Final[Mapping[str, Meter]] = {meter.counted_as: meter for meter in BUILT_IN}
"""By the name in hourly rows."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What all aggregations make of the hourly rows of one meter in a period.

    mean: the sum of the hours' means. rows: how many. digest: SHA-256 of the rows as hex.
    """

    meter: str
    sum: Decimal
    max: Decimal
    latest: Decimal
    mean: Decimal
    p95: int
    unique: int
    rows: int
    digest: str


def of_period(meter: Meter, totals: Totals, start: datetime, end: datetime) -> Decimal:
    """The meter's quantity of the hours that begin in [start, end), in its unit."""
    by_rule: Mapping[Aggregation, Decimal | int | Fraction] = {
        Aggregation.SUM: totals.sum,
        Aggregation.COUNT: totals.sum,
        Aggregation.MAX: totals.max,
        Aggregation.LATEST: totals.latest,
        Aggregation.UNIQUE: totals.unique,
        Aggregation.P95: totals.p95,
        Aggregation.TIME_AVERAGE: Fraction(totals.mean) / max(1, hours_between(start, end)),
    }
    return quantity(Fraction(by_rule[meter.aggregation]) / meter.divisor)


def hours_between(start: datetime, end: datetime) -> int:
    """How many whole hours of UTC begin in [start, end)."""
    hour = timedelta(hours=1)
    return (EPOCH - start) // hour - (EPOCH - end) // hour


def quantity(exact: Fraction) -> Decimal:
    """With 9 decimals, rounded half away from zero, as Postgres' `round(numeric, 9)` does."""
    scaled = abs(exact) * 10**DECIMALS
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(whole if exact >= 0 else -whole).scaleb(-DECIMALS, WIDE)


def plain(number: Decimal) -> str:
    """Its digits, without zeros at the end: 12.5, 300."""
    digits = f"{number:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


Number = Annotated[Decimal, PlainSerializer(plain, return_type=str)]
"""Decimal text in JSON."""
