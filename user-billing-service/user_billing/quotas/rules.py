"""Quotas: what may be set, which thresholds are reached, and what they cap. Pure.

    used ≥ threshold % of the limit ─▶ told, once a period
    used ≥ the limit                ─▶ warn     nothing more
                                      degrade  at most one sample a series and interval is stored
                                      block    samples are refused

A meter that is a level (series, bytes) counts with its highest hour of the period and can only
warn, since neither fewer nor no samples bring it down. Source: docs/adr/0041-quotas-and-guards.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from user_billing.errors import BadInput, NotFound
from user_billing.meters.rules import BY_NAME, Number, plain
from user_billing.rating.model import Period
from user_billing.usage.rules import month_of

LEVELS: Final = frozenset({"active_series", "stored_bytes", "seats"})
CAPPED: Final = "samples"
"""The meter that `degrade` and `block` bring down."""
THRESHOLDS: Final = (50, 80, 100)
THRESHOLDS_MAX: Final = 10
PERCENT_MAX: Final = 1_000
INTERVAL_MS: Final = 60_000
INTERVAL_MS_MIN: Final = 1_000
INTERVAL_MS_MAX: Final = 120_000
"""Under half of the lookback of queries (5 minutes), so that no series has gaps."""


class Action(StrEnum):
    """What happens at 100 %."""

    WARN = "warn"
    DEGRADE = "degrade"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Quota:
    """What an organisation wants to use at most in a calendar month of UTC.

    limit: in the meter's unit. thresholds: percent of it, ascending. interval_ms: of `degrade`.
    """

    meter: str
    action: Action
    limit: Number
    thresholds: tuple[int, ...]
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """What reached quotas make of an organisation's limits. blocked: why, in words."""

    min_interval_ms: int | None = None
    blocked: str | None = None
    since: datetime | None = field(default=None, compare=False)


def checked(quota: Quota) -> Quota:
    """The quota, complete and in order. Raises BadInput; NotFound when there can be none such."""
    degrades = quota.action is Action.DEGRADE
    if quota.meter not in BY_NAME or (quota.action is not Action.WARN and quota.meter != CAPPED):
        raise NotFound(needs=f"{', '.join(sorted(BY_NAME))}; degrade and block: {CAPPED}")
    if not degrades and quota.interval_ms is not None:
        raise BadInput(field="interval_ms", needs="the action degrade")
    interval_ms = (quota.interval_ms or INTERVAL_MS) if degrades else None
    return replace(quota, thresholds=tuple(sorted(set(quota.thresholds))), interval_ms=interval_ms)


def month(now: datetime) -> Period:
    """The calendar month of UTC that `now` is in."""
    start = month_of(now)
    return Period(start, month_of(start + timedelta(days=31)))


def reached(quota: Quota, used: Fraction) -> tuple[int, ...]:
    """The thresholds that `used` is at or above, ascending."""
    return tuple(n for n in quota.thresholds if used * 100 >= Fraction(quota.limit) * n)


def cap(quotas: Iterable[Quota], used: Mapping[str, Fraction]) -> Cap:
    """What the quotas at 100 % ask for. used: by meter, in this period."""
    full = {one.action: one for one in quotas if used[one.meter] >= Fraction(one.limit)}
    degrade, block = full.get(Action.DEGRADE), full.get(Action.BLOCK)
    return Cap(
        None if degrade is None else degrade.interval_ms,
        None if block is None else f"the quota of {plain(block.limit)} {CAPPED} a month is used up",
    )
