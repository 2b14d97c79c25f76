"""The audit log: written in the transaction of the change it tells of, or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from user_billing.audit import chain, export, sql
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import NotFound
from user_billing.members import sql as members_sql
from user_billing.members.rules import by_address
from user_billing.model import Actor, AuditEvent
from user_billing.organisations import sql as organisations_sql
from user_billing.people import sql as people_sql
from user_billing.webhooks import outbox

PAGE_MAX = 500


def record(
    session: Session,
    organisation_id: UUID,
    actor: Actor,
    action: str,
    target: str,
    *,
    now: datetime,
    **detail: str | int | list[str] | None,
) -> None:
    """The organisation's chain ends with this event, and its webhooks are told of some.

    session: a transaction inside the organisation. Never a secret in `detail`. Takes the chain's
    lock: call it last.
    """
    if (type_ := outbox.OF_AUDIT.get(action)) is not None:
        outbox.emit(session, organisation_id, type_, {"target": target, **detail}, now)
    head = sql.head(session, organisation_id, lock=True)
    assert head is not None, "a chain begins with its organisation"
    event = AuditEvent(
        organisation_id, head.seq + 1, now, actor.subject, action, target, dict(detail),
        actor.request_id, previous_hash=head.hash, hash=b"",
    )  # fmt: skip
    sql.add_audit_event(session, chain.seal(event))


def record_of_person(
    session: BoundSession, user_id: UUID, actor: Actor, action: str, now: datetime
) -> None:
    """Every organisation of the person has the event, in one order so that none deadlock.

    session: of the directory.
    """
    memberships = people_sql.memberships(session, user_id)
    for org in sorted(m.organisation.id for m in memberships):
        with within(session, org):
            record(session, org, actor, action, f"user:{user_id}", now=now)


@dataclass(frozen=True)
class Audit:
    """Reads and proves the log."""

    database: Database

    def page(self, organisation_id: UUID, *, before: int | None, limit: int) -> list[AuditEvent]:
        """At most `limit` events below sequence number `before`, newest first.

        People who are members appear by their address.
        """
        with self.database.organisation(organisation_id) as session:
            events = sql.audit_events(session, organisation_id, before=before, limit=limit)
            return by_address(events, members_sql.members(session, organisation_id), "actor")

    def events(self, organisation_id: UUID, span: sql.Span) -> Iterator[AuditEvent]:
        """The events of `span`, oldest first: a page at a time in memory, no transaction held."""
        after = span.first - 1
        while after < span.last:
            with self.database.organisation(organisation_id) as session:
                limit = min(PAGE_MAX, span.last - after)
                page = sql.audit_events_after(session, organisation_id, after, limit)
            if not page:
                return
            yield from page
            after = page[-1].seq

    def span(self, organisation_id: UUID, start: datetime | None, end: datetime | None) -> sql.Span:
        """The unbroken part of the chain that has every event in [start, end).

        Events are numbered as they commit, so one of just outside may lie between.
        """
        with self.database.organisation(organisation_id) as session:
            return sql.audit_span(session, organisation_id, start, end)

    def organisations(self) -> list[UUID]:
        """Every organisation, each of which has a chain."""
        with self.database.directory() as session:
            return organisations_sql.organisation_ids(session)

    def first_break(self, organisation_id: UUID) -> int | None:
        """Where the chain is not what was written; None when it is whole to its end."""
        with self.database.organisation(organisation_id) as session:
            head = sql.head(session, organisation_id)
        if head is None:
            raise NotFound(organisation=organisation_id)
        last = chain.Link()

        def passing() -> Iterator[AuditEvent]:
            nonlocal last
            for event in self.events(organisation_id, sql.Span(1, head.seq)):
                yield event
                last = chain.Link(event.seq, event.hash)

        broken = chain.first_break(passing())
        if broken is None and last != head:
            return last.seq + 1
        return broken

    def first_break_of_file(self, text: str) -> tuple[int, int | None]:
        """How many events an exported JSON file has, and where it is not what the log says.

        A chain that is whole and ends with a hash of the log is the log's. Raises BadInput.
        """
        events = export.of_json(text)
        broken = export.first_break(events)
        if events and broken is None:
            last = events[-1]
            span = sql.Span(last.seq, last.seq)
            logged = next(self.events(last.organisation_id, span), None)
            broken = None if logged is not None and logged.hash == last.hash else last.seq
        return len(events), broken
