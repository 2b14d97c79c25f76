"""Events of organisations' own meters, taken in once; and backfills of them.

One organisation's events are taken one request after the other (a lock of its own), so what is
there can be read, decided on and written without a gap. All of a request is one transaction: when
its answer is lost, sending it again changes nothing.
"""

from collections import Counter as Count
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Room
from user_billing.errors import BadInput, Conflict
from user_billing.identifiers import new_id
from user_billing.meters.rules import Aggregation, Meter
from user_billing.meters.sql import own_meters
from user_billing.model import Actor
from user_billing.organisations.sql import organisation_ids
from user_billing.usage import events, sql
from user_billing.usage.events import Distinct, Event, Outcome, Place, Verdict
from user_billing.usage.rules import Report
from user_billing.usage.tables import usage_backfill, usage_event

SOURCE: Final = "events"
"""Of hourly rows that events make."""
BACKFILL_FOR: Final = timedelta(days=7)
BACKFILLS_OPEN_MAX: Final = 10
BACKFILL_EVENTS_MAX: Final = 100_000
IDENTITY_FOR: Final = events.CORRECTABLE_FOR + BACKFILL_FOR
"""After which an event is refused as too old, so that nobody needs to know that it was there."""
LISTED_MAX: Final = 100
AUDITED_MAX: Final = 20
"""Ids of conflicting events that one audit row names."""
UPKEEP: Final = Actor("service:ubs")

log = structlog.get_logger()
EVENTS = Counter("cloudopshub_billing_events_total", "Events of own meters.", ["outcome"])


class BackfillOutcome(StrEnum):
    """How a backfill ended."""

    CLOSED = "closed"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Taking:
    """One transaction in which nobody else takes events of the organisation. meters: its own."""

    session: Session
    org: UUID
    now: datetime
    meters: Mapping[str, Meter]

    def require_open(self, backfill: UUID) -> None:
        """Raises NotFound; Conflict when it has ended or its time is over."""
        row = rows.require(self.session, usage_backfill, self.org, id=backfill)
        if row.ended_at is not None or row.expires_at <= self.now:
            raise Conflict(detail="the backfill has ended", outcome=row.outcome or "reverted")

    def open_backfills(self) -> Sequence[Row[Any]]:
        """Those that nobody ended, also when their time is over."""
        limit = BACKFILLS_OPEN_MAX
        return rows.latest(self.session, usage_backfill, self.org, limit, ended_at=None)

    def distinct(self, wanted: Sequence[Event]) -> dict[Place, Distinct]:
        """Of the events whose values are counted once: what is there of them, by place."""
        unique = [
            event for event in wanted if self.meters[event.meter].aggregation is Aggregation.UNIQUE
        ]
        values = {(event.place, event.value) for event in unique}
        counted = sql.known_values(self.session, self.org, values)
        places = {event.place for event in unique}
        hours = sql.stored(self.session, self.org, SOURCE, places)
        return {
            place: Distinct(
                int(hours[place][1].quantity) if place in hours else 0, counted.get(place, set())
            )
            for place in places
        }

    def add(self, accepted: Sequence[Event], backfill: UUID | None) -> None:
        """The events are known from now on. Raises BadInput above BACKFILL_EVENTS_MAX."""
        sql.add_events(self.session, self.org, accepted, backfill, self.now)
        if backfill is not None:
            number = sql.backfill(self.session, self.org, backfill).events
            if number > BACKFILL_EVENTS_MAX:
                raise BadInput(field="backfill", events_max=BACKFILL_EVENTS_MAX)

    def count(self, accepted: Sequence[Event], distinct: Mapping[Place, Distinct]) -> None:
        """The events are in the hours they belong to, as are the new distinct values."""
        by_place: dict[Place, list[Event]] = defaultdict(list)
        for event in accepted:
            by_place[event.place].append(event)
        stored = sql.stored(self.session, self.org, SOURCE, by_place)
        reports = []
        for (meter, hour), of_place in by_place.items():
            revision, before = stored.get((meter, hour), (0, None))
            new = distinct[meter, hour].new if (meter, hour) in distinct else ()
            reading = events.fold(self.meters[meter].aggregation, before, of_place, len(new))
            reports.append(Report(self.org, hour, revision + 1, {meter: reading}))
        values = [(place, value) for place, of in distinct.items() for value in of.new]
        sql.add_values(self.session, self.org, values)
        sql.put(self.session, SOURCE, reports, self.now)

    def end(self, backfill: UUID, outcome: BackfillOutcome, actor: Actor) -> Row[Any]:
        """The backfill, which has ended."""
        number = sql.backfill(self.session, self.org, backfill).events
        if outcome is BackfillOutcome.REVERTED:
            rows.remove(self.session, usage_event, self.org, backfill=backfill)
        ended = {"ended_at": self.now, "outcome": outcome.value}
        rows.changed(self.session, usage_backfill, self.org, {"id": backfill}, **ended)
        audit.record(
            self.session, self.org, actor, f"usage.backfill.{outcome}", str(backfill),
            now=self.now, events=number,
        )  # fmt: skip
        return sql.backfill(self.session, self.org, backfill)

    def audit_conflicts(self, verdicts: Sequence[Verdict], actor: Actor) -> None:
        """The audit log tells of events that say something else than before."""
        conflicts = events.with_outcome(verdicts, Outcome.CONFLICT)
        ids = [f"{event.source} {event.id}" for event in conflicts]
        if ids:
            log.error("usage_event_conflict", events=len(ids))
            audit.record(
                self.session, self.org, actor, "usage.event.conflict", ids[0], now=self.now,
                events=len(ids), first=ids[:AUDITED_MAX],
            )  # fmt: skip


class Intake(Room):
    """The events and backfills of all organisations."""

    def take(
        self, org: UUID, sent: Sequence[object], backfill: UUID | None, actor: Actor
    ) -> list[Verdict]:
        """What became of each row. Raises BadInput; NotFound and Conflict for the backfill."""
        if not 0 < len(sent) <= events.EVENTS_MAX:
            raise BadInput(field="events", events_max=events.EVENTS_MAX, got=len(sent))
        with self._taking(org) as taking:
            if backfill is not None:
                taking.require_open(backfill)
            parsed = [events.parse(row, taking.meters, taking.now) for row in sent]
            wanted = [row for row in parsed if isinstance(row, Event)]
            stored = sql.stored_events(taking.session, org, {event.key for event in wanted})
            distinct = taking.distinct(wanted)
            verdicts = events.decide(parsed, stored, distinct, backfill)
            accepted = events.with_outcome(verdicts, Outcome.ACCEPTED)
            if accepted:
                taking.add(accepted, backfill)
                if backfill is None:
                    taking.count(accepted, distinct)
            taking.audit_conflicts(verdicts, actor)
        for outcome, number in Count(verdict.outcome for verdict in verdicts).items():
            EVENTS.labels(outcome.value).inc(number)
        return verdicts

    @contextmanager
    def _taking(self, org: UUID) -> Iterator[Taking]:
        with self._database.organisation(org) as session:
            sql.lock(session, org)
            meters = {meter.code: meter for meter in own_meters(session, org)}
            yield Taking(session, org, self._clock.now(), meters)

    def open(self, org: UUID, actor: Actor) -> Row[Any]:
        """A backfill whose events wait until it is closed, and are gone when it is reverted or its
        time is over. Raises Conflict.
        """
        id_ = new_id()
        with self._taking(org) as taking:
            session, now = taking.session, taking.now
            if len(taking.open_backfills()) >= BACKFILLS_OPEN_MAX:
                raise Conflict(detail="close or revert one first", open_max=BACKFILLS_OPEN_MAX)
            rows.add_one(
                session, usage_backfill, org, id=id_, opened_at=now, opened_by=actor.subject,
                expires_at=now + BACKFILL_FOR,
            )  # fmt: skip
            audit.record(session, org, actor, "usage.backfill.open", str(id_), now=now)
            return sql.backfill(session, org, id_)

    def backfills(self, org: UUID) -> Sequence[Row[Any]]:
        """The latest ones, with how many events each has."""
        with self._database.organisation(org) as session:
            return sql.backfills(session, org, LISTED_MAX)

    def end(self, org: UUID, backfill: UUID, outcome: BackfillOutcome, actor: Actor) -> Row[Any]:
        """Its events count, or are gone as if they had never been sent.

        Raises NotFound, Conflict.
        """
        with self._taking(org) as taking:
            taking.require_open(backfill)
            if outcome is BackfillOutcome.CLOSED:
                waiting = sql.events_of(taking.session, org, backfill)
                distinct = taking.distinct(waiting)
                for event in waiting:
                    if event.place in distinct and not distinct[event.place].takes(event.value):
                        raise Conflict(
                            detail="an hour would have too many distinct values",
                            meter=event.meter, hour=event.place[1].isoformat(),
                            distinct_max=events.DISTINCT_MAX,
                        )  # fmt: skip
                taking.count(waiting, distinct)
            return taking.end(backfill, outcome, actor)

    def upkeep(self) -> None:
        """Of every organisation: seats are counted, backfills whose time is over are reverted, and
        identities that no accepted event can repeat are gone.
        """
        with self._database.directory() as session:
            organisations = organisation_ids(session)
        for org in organisations:
            with self._taking(org) as taking:
                sql.count_seats(taking.session, org, taking.now)
                sql.sweep(taking.session, org, taking.now - IDENTITY_FOR)
                for row in taking.open_backfills():
                    if row.expires_at <= taking.now:
                        taking.end(row.id, BackfillOutcome.REVERTED, UPKEEP)
