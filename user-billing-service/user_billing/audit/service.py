"""The audit log: written in the transaction of the change it tells of, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from user_billing.audit import chain, sql
from user_billing.db.session import Database
from user_billing.members import sql as members_sql
from user_billing.model import Actor, AuditEvent, Member

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
    """The organisation's chain ends with this event. Never a secret in `detail`.

    session: a transaction inside the organisation. Takes the chain's lock: call it last.
    """
    head = sql.take_audit_head(session, organisation_id)
    event = AuditEvent(
        organisation_id=organisation_id,
        seq=head.seq + 1,
        at=now,
        actor=actor.subject,
        action=action,
        target=target,
        detail=dict(detail),
        request_id=actor.request_id,
        previous_hash=head.hash,
        hash=b"",
    )
    sql.add_audit_event(session, chain.seal(event))


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events, and who their actors are to this organisation's members."""

    events: Sequence[AuditEvent]
    members: Sequence[Member]


class Audit:
    """Reads and proves the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, organisation_id: UUID, *, before: int | None, limit: int) -> AuditPage:
        """At most `limit` events below sequence number `before`, newest first."""
        with self._database.organisation(organisation_id) as session:
            return AuditPage(
                sql.audit_events(
                    session, organisation_id, before=before, limit=min(limit, PAGE_MAX)
                ),
                members_sql.members(session, organisation_id),
            )

    def first_break(self, organisation_id: UUID) -> int | None:
        """Where the chain is not what was written; None when it is whole to its end."""
        with self._database.organisation(organisation_id) as session:
            head = sql.take_audit_head(session, organisation_id)
            events = sql.audit_events(session, organisation_id, before=None, limit=head.seq + 1)
        broken = chain.first_break(reversed(events))
        if broken is None and len(events) != head.seq:
            return len(events) + 1
        return broken
