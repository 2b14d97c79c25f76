"""What rating reads and what it answers. Frozen; amounts are minor units of a currency."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
"""Numbers that are no whole ones are text, so that the same derivation has the same bytes."""


class LineKind(StrEnum):
    """Why a line is on a document."""

    PLAN = "plan"
    """the plan's own price, in advance"""
    USAGE = "usage"
    """what a meter counted"""
    MINIMUM = "minimum"
    """what is missing to the plan's minimum"""
    PRORATION = "proration"
    """the part of a price for a part of a period, also when given back"""
    ADJUSTMENT = "adjustment"
    """usage of an earlier period that became known after its invoice"""


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end), both with a zone."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """What one meter counted in a period, after its aggregation.

    quantity: in the meter's unit. hours: how many hourly rows it was computed from. digest: SHA-256
    of these rows in order, so that anybody can see that they are still the same.
    """

    quantity: Decimal
    hours: int
    digest: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a document. derivation: all that is needed to compute `amount` again."""

    kind: LineKind
    description: str
    meter: str | None
    period: Period
    quantity: Decimal
    unit: str
    amount: int
    derivation: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Rated:
    """Lines in the plan's order. input_hash: SHA-256 of everything that was read, as hex."""

    currency: str
    lines: tuple[Line, ...]
    input_hash: str

    @property
    def total(self) -> int:
        """The sum of the lines."""
        return sum(line.amount for line in self.lines)
