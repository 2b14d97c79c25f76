"""Whose usage an hour is: its total, split by what each team has stored of it. Pure.

    rules, in order   team ◀─ first whose selector the series meets    else unattributed
    hour              total ── largest remainder, by samples or series ──▶ shares, whose sum it is

dis counts; a rule set is a version, and an hour is split anew when its version or its usage is
another, as long as its period is open. Source: docs/adr/0040-teams-and-costs.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from user_billing.money import rules as money

TEAMS_MAX: Final = 500
RULES_MAX: Final = 500
UNATTRIBUTED: Final = ""
"""Instead of a team's id, of what no rule gives to a team."""
NANO: Final = Decimal("0.000000001")
Whole = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, slots=True)
class Rule:
    """Series that `selector` selects, and that no earlier rule has, are the team's."""

    team: UUID
    selector: Annotated[str, Field(min_length=1, max_length=2_000)]


@dataclass(frozen=True, slots=True)
class Weights:
    """What a team has of an hour: samples with a timestamp in it, and series that have one."""

    samples: Whole
    series: Whole


Shares = Mapping[str, Weights]
"""By team's id, and `UNATTRIBUTED`."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One meter's quantity in an hour."""

    hour: datetime
    meter: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class DueHour:
    """An hour to split, and the revision it is at."""

    hour: datetime
    revision: int


def split(hour: Hour, shares: Shares | None) -> dict[str, Decimal]:
    """The hour's quantity by team; sums to it, to nine decimals. None: it was not split yet."""
    has = shares or {}
    teams, is_series = sorted(has), hour.meter == "active_series"
    weights = [has[team].series if is_series else has[team].samples for team in teams]
    if not sum(weights):
        return {UNATTRIBUTED: hour.quantity}
    # whole numbers stay whole: there is no half of a sample
    unit = Decimal(1) if hour.quantity == hour.quantity.to_integral_value() else NANO
    parts = money.split(int(hour.quantity / unit), weights)
    return {team: part * unit for team, part in zip(teams, parts, strict=True) if part}


def by_team(
    hours: Iterable[Hour], shares: Mapping[datetime, Shares]
) -> dict[tuple[str, str], Decimal]:
    """(team, meter) → the sum of its hours."""
    sums: dict[tuple[str, str], Decimal] = {}
    for hour in hours:
        for team, quantity in split(hour, shares.get(hour.hour)).items():
            key = (team, hour.meter)
            sums[key] = sums.get(key, Decimal(0)) + quantity
    return sums


def means(
    hours: Iterable[Hour], sums: Mapping[tuple[str, str], Decimal]
) -> dict[tuple[str, str], Decimal]:
    """Samples as they are summed; of levels the mean of the hours that have the meter."""
    lengths = Counter(hour.meter for hour in hours)
    return {
        (team, meter): total if meter == "samples" else (total / lengths[meter]).quantize(NANO)
        for (team, meter), total in sums.items()
    }
