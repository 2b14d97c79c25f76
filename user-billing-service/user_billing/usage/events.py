"""Events of organisations' own meters, as CloudEvents 1.0. Pure.

    row ─ parse ─▶ refused     it names no meter, its time or its value cannot be
                └▶ event ─ decide ─▶ accepted    it counts, or waits in its backfill
                                   ├▶ duplicate  (source, id) is there with the same content
                                   ├▶ conflict   … with another content: the first stands
                                   └▶ refused    the hour has no room for one more distinct value
    accepted ─ fold ─▶ the hour's reading, the same in whatever order events come

Source: https://github.com/cloudevents/spec (v1.0.2, JSON format); docs/adr/0039-metering.md.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from user_billing.errors import BadInput
from user_billing.meters.rules import WIDE, Aggregation, Meter
from user_billing.usage.rules import MINUTES, Reading

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
EVENTS_MAX: Final = 1_000
"""Of a request."""
BYTES_MAX: Final = 1024 * 1024
"""Of a request."""
DISTINCT_MAX: Final = 10_000
"""Distinct values of a meter in an hour."""
NAME_CHARS_MAX: Final = 256
"""Of an event's source and id."""
TEXT_CHARS_MAX: Final = 128
"""Of a distinct value."""
CORRECTABLE_FOR: Final = timedelta(days=93)
"""How long ago something may have been used: no monthly period that is open, in grace (of a month
at most) or the last one closed began earlier."""
AHEAD: Final = timedelta(minutes=5)
"""How far a sender's clock may be ahead."""
NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
WHOLE_MAX: Final = 2**31 - 1
"""Of a value by minute."""

Key: TypeAlias = tuple[str, str]
"""source, id"""
Place: TypeAlias = tuple[str, datetime]
"""meter, hour"""


@dataclass(slots=True)
class Distinct:
    """The distinct values of a meter in an hour. number: how many there are; known: those of them
    that are asked about; new: those that were taken since.
    """

    number: int
    known: set[str]
    new: set[str] = field(default_factory=set)

    def takes(self, value: str) -> bool:
        """Whether the value is there or there is room for it; then it is taken."""
        if value not in self.known and value not in self.new:
            if self.number + len(self.new) >= DISTINCT_MAX:
                return False
            self.new.add(value)
        return True


class Outcome(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REFUSED = "refused"


class Event(NamedTuple):
    """What was used when. value: a number in plain digits, or a distinct value; at: UTC."""

    source: str
    id: str
    meter: str
    at: datetime
    value: str

    @property
    def key(self) -> Key:
        """Who it is within its organisation."""
        return self.source, self.id

    @property
    def place(self) -> Place:
        """The meter and the hour that it counts in."""
        return self.meter, self.at.replace(minute=0, second=0, microsecond=0)


Stored: TypeAlias = tuple[Event, UUID | None]
"""An event that is there, and the open backfill that it waits in."""


class Verdict(NamedTuple):
    """What became of a row of a request. event: None when the row could not be read as one."""

    outcome: Outcome
    reason: str = ""
    event: Event | None = None


def parse_body(body: bytes, content_type: str) -> object:
    """The event of a request, or the list of a batch. Raises BadInput."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {STRUCTURED, BATCH}:
        raise BadInput(field="Content-Type", needs=f"{STRUCTURED} or {BATCH}", value=media_type)
    try:
        rows: object = json.loads(body, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as exc:
        raise BadInput(field="body", needs="JSON", detail=str(exc)) from exc
    if isinstance(rows, list) != (media_type == BATCH):
        raise BadInput(field="body", needs=f"a list with {BATCH}, an object with {STRUCTURED}")
    return rows


def parse(row: object, meters: Mapping[str, Meter], now: datetime) -> Event | Verdict:
    """The event that a row of a request says, or why it is refused."""
    try:
        return _event(row, meters, now)
    except BadInput as exc:
        return Verdict(Outcome.REFUSED, str(exc))


def _event(row: object, meters: Mapping[str, Meter], now: datetime) -> Event:
    if not isinstance(row, dict) or row.get("specversion") != "1.0":
        raise BadInput(field="specversion", needs='an object of CloudEvents with "1.0"')
    source, id_ = _name(row, "source"), _name(row, "id")
    meter = meters.get(_name(row, "type"))
    if meter is None:
        raise BadInput(field="type", value=row["type"], needs="the code of one of your meters")
    return Event(source, id_, meter.code, _time(row.get("time"), now), _value(row, meter))


def _name(row: Mapping[str, Any], field: str) -> str:
    name = row.get(field)
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise BadInput(field=field, chars_max=NAME_CHARS_MAX, needs="printable text")
    return name


def _time(text: object, now: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text if isinstance(text, str) else "")
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadInput(field="time", needs="when it was used: 2026-05-01T12:00:00Z")
    if not now - CORRECTABLE_FOR <= at <= now + AHEAD:
        raise BadInput(
            field="time", value=str(text), days_max=CORRECTABLE_FOR.days,
            needs="a time that is not in the future and not before what can be corrected",
        )  # fmt: skip
    return at.astimezone(UTC)


def _value(row: Mapping[str, Any], meter: Meter) -> str:
    if meter.aggregation is Aggregation.COUNT:
        return "1"
    data = row.get("data")
    value = data.get("value") if isinstance(data, dict) else None
    if meter.aggregation is Aggregation.UNIQUE:
        if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and value.isprintable():
            return value
        raise BadInput(field="data.value", chars_max=TEXT_CHARS_MAX, needs="printable text")
    text = value if isinstance(value, str) else ""
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 <= value < 10**18:
        text = f"{value:f}" if isinstance(value, int) or value.adjusted() > -10 else ""
    if not NUMBER.fullmatch(text):
        raise BadInput(
            field="data.value", needs="a number from 0 below 10^18 with at most 9 decimals"
        )
    plain = (text.rstrip("0").rstrip(".") if "." in text else text).lstrip("0")
    plain = f"0{plain}" if plain[:1] in {"", "."} else plain
    if meter.by_minute and ("." in plain or int(plain) > WHOLE_MAX):
        raise BadInput(field="data.value", value_max=WHOLE_MAX, needs="a whole number")
    return plain


def decide(
    rows: Sequence[Event | Verdict],
    stored: Mapping[Key, Stored],
    distinct: Mapping[Place, Distinct],
    backfill: UUID | None,
) -> list[Verdict]:
    """What becomes of each row, in their order; a row counts after those before it.

    distinct: of each place where values are counted once.
    """
    seen = dict(stored)
    verdicts = []
    for row in rows:
        verdict = row if isinstance(row, Verdict) else _verdict(row, seen.get(row.key), backfill)
        if verdict.outcome is Outcome.ACCEPTED and verdict.event:
            event = verdict.event
            place = distinct.get(event.place) if distinct else None
            if place and not place.takes(event.value):
                limit = BadInput(field="data.value", meter=event.meter, distinct_max=DISTINCT_MAX)
                verdict = Verdict(Outcome.REFUSED, str(limit), event)
            else:
                seen[event.key] = event, backfill
        verdicts.append(verdict)
    return verdicts


def with_outcome(verdicts: Iterable[Verdict], outcome: Outcome) -> list[Event]:
    """The events of which that became."""
    return [of.event for of in verdicts if of.event and of.outcome is outcome]


def _verdict(event: Event, before: Stored | None, backfill: UUID | None) -> Verdict:
    if before is None:
        return Verdict(Outcome.ACCEPTED, event=event)
    if before[0] != event:
        return Verdict(Outcome.CONFLICT, "this source and id say something else already", event)
    if before[1] not in {None, backfill}:
        return Verdict(Outcome.CONFLICT, f"it waits in backfill {before[1]}", event)
    return Verdict(Outcome.DUPLICATE, event=event)


def fold(
    aggregation: Aggregation, before: Reading | None, events: Sequence[Event], new_values: int
) -> Reading:
    """The hour's reading with these events too. new_values: distinct ones that were not there."""
    start = before or Reading(Decimal(0), readings=0)
    if aggregation is Aggregation.UNIQUE:
        return Reading(start.quantity + new_values)
    values = [Decimal(event.value) for event in events]
    if aggregation is Aggregation.P95:
        minutes = list(start.minutes or (0,) * MINUTES)
        for event, value in zip(events, values, strict=True):
            minutes[event.at.minute] = max(minutes[event.at.minute], int(value))
        return Reading(Decimal(max(minutes)), tuple(minutes))
    if aggregation is Aggregation.MAX:
        return Reading(max(start.quantity, *values))
    if aggregation is Aggregation.LATEST:
        latest = max(zip((event.at for event in events), values, strict=True))
        if start.latest_at is not None:
            latest = max(latest, (start.latest_at, start.quantity))
        return Reading(latest[1], latest_at=latest[0])
    with localcontext(WIDE):
        total = sum(values, start.quantity)
    is_mean = aggregation is Aggregation.TIME_AVERAGE
    return Reading(total, readings=start.readings + len(events) if is_mean else 1)
