"""Meters, and what becomes of a report about an hour. Pure.

    report of an hour, at a revision ─▶ unknown   no such organisation, nothing is kept
                                     ├▶ stored    it is what is kept
                                     ├▶ older     a later revision is kept
                                     └▶ conflict  the same revision is kept, and says otherwise

A report says the whole hour as it stood at its revision, so sending it again, in any order and any
number of times, adds nothing. Source: docs/adr/0028-usage-delivery.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from user_billing.errors import BadInput
from user_billing.meters.rules import BY_NAME
from user_billing.model import Audience

BUCKETS_MAX: Final = 1_000
"""Of one answer about usage."""
MINUTES: Final = 60
FIRST_YEAR: Final = 2000


class Step(StrEnum):
    """How long a bucket of usage is; days and months are those of UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Outcome(StrEnum):
    """What became of a report."""

    STORED = "stored"
    OLDER = "older"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one meter in one hour. minutes: of a meter that is read by minute, () when no one was.

    readings: how many values `quantity` is the sum of, for a mean. latest_at: when the value that
    it is was counted, for the latest.
    """

    quantity: Decimal
    minutes: tuple[int, ...] = ()
    readings: int = 1
    latest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a source says of one hour (its beginning) of an organisation."""

    organisation_id: UUID
    hour: datetime
    revision: int
    readings: Mapping[str, Reading]


def check(source: Audience, report: Report) -> None:
    """Raises BadInput when the report cannot be one of that source."""
    hour = report.hour
    if hour.timestamp() % 3600 or hour.year < FIRST_YEAR:
        raise BadInput(field="hour", needs="a whole hour of UTC", got=hour.isoformat())
    for code, reading in report.readings.items():
        meter = BY_NAME.get(code)
        if meter is None or meter.source is not source:
            raise BadInput(field="meters", meter=code, needs=f"a meter of {source}")
        if reading.minutes and (not meter.by_minute or len(reading.minutes) != MINUTES):
            raise BadInput(field="minutes", meter=code, needs=f"{MINUTES} numbers by minute")


def outcome(report: Report, stored: Mapping[str, tuple[int, Reading]]) -> Outcome:
    """What became of `report`, by what is stored after it was put: meter → (revision, reading)."""
    if any(stored[code][0] > report.revision for code in report.readings):
        return Outcome.OLDER
    same = all(stored[code][1] == reading for code, reading in report.readings.items())
    return Outcome.STORED if same else Outcome.CONFLICT


def check_range(start: datetime, end: datetime, step: Step) -> None:
    """Raises BadInput for a range without an end, or of too many buckets."""
    if not start < end:
        raise BadInput(field="end", needs="a time after start")
    shortest = {Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}
    buckets = (end - start) / shortest.get(step, timedelta(days=28))
    if buckets > BUCKETS_MAX:
        raise BadInput(field="step", buckets_max=BUCKETS_MAX, needs="a longer step")


def month_of(now: datetime) -> datetime:
    """The beginning of the calendar month, UTC."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
