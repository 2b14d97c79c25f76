"""Billing periods, and what a change of plan makes of an organisation's subscriptions. Pure.

    ├── team 1 ──┼─────── metered 1 ───────▶        spans do not overlap; the last may be open
               start

A period begins at local midnight of the anchor day, or of the month's last day where the month is
shorter, and ends where the next begins. Changes take effect at whole hours of UTC, the grain of
usage. Source: docs/adr/0037-money-plans-and-rating.md.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from user_billing.errors import BadInput
from user_billing.rating.model import Period


class When(StrEnum):
    """When a change takes effect."""

    NOW = "now"
    PERIOD_END = "period_end"


@dataclass(frozen=True, slots=True)
class Terms:
    """When an organisation's periods begin. zone: of IANA."""

    anchor_day: int
    zone: str


@dataclass(frozen=True, slots=True)
class Span:
    """An organisation has version `n` of `plan` in [start, end); end None: until it is changed."""

    id: UUID
    plan: str
    n: int
    start: datetime
    end: datetime | None = None


def check(terms: Terms) -> None:
    """Raises BadInput for a zone nobody knows."""
    try:
        ZoneInfo(terms.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise BadInput(field="zone", value=terms.zone, needs="one like Europe/Paris") from exc


def period_at(terms: Terms, at: datetime) -> Period:
    """The billing period that `at` lies in; bounds in UTC."""
    local = at.astimezone(ZoneInfo(terms.zone))
    months = local.year * 12 + local.month - 1
    begun = months if _begin(terms, months) <= at else months - 1
    return Period(_begin(terms, begun), _begin(terms, begun + 1))


def _begin(terms: Terms, months: int) -> datetime:
    """When the period that begins in that month (since year 0) does, UTC."""
    year, month = months // 12, months % 12 + 1
    day = min(terms.anchor_day, monthrange(year, month)[1])
    return datetime(year, month, day, tzinfo=ZoneInfo(terms.zone)).astimezone(UTC)


def hour_of(at: datetime) -> datetime:
    """The beginning of its hour, UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def changed(spans: Sequence[Span], new: Span) -> list[Span]:
    """The spans when `new` begins, which takes the place of all that was to be from then on."""
    ended = ended_at(spans, new.start)
    if ended and ended[-1].end == new.start and (ended[-1].plan, ended[-1].n) == (new.plan, new.n):
        return [*ended[:-1], replace(ended[-1], end=new.end)]  # as before: no change at all
    return [*ended, new]


def ended_at(spans: Sequence[Span], at: datetime) -> list[Span]:
    """The spans when nothing goes on past `at`; those that would be empty are gone."""
    return [
        replace(span, end=at if span.end is None else min(span.end, at))
        for span in spans
        if span.start < at
    ]


def clipped(spans: Sequence[Span], period: Period) -> list[tuple[Span, Period]]:
    """The part of each span that lies in `period`, in order."""
    inside = []
    for span in sorted(spans, key=lambda one: one.start):
        start = max(span.start, period.start)
        end = period.end if span.end is None else min(span.end, period.end)
        if start < end:
            inside.append((span, Period(start, end)))
    return inside


def effective_at(when: When, period: Period, now: datetime) -> datetime:
    """When a change takes effect that is made `now`, in `period`: this hour or its end."""
    return period.end if when is When.PERIOD_END else max(period.start, hour_of(now))
