"""A new organisation; and what the operator of the hub does with organisations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.members import sql as members_sql
from user_billing.model import Actor, Organisation, Principal, RevocationKind, Role
from user_billing.organisations import rules, sql
from user_billing.revocations import sql as revocations_sql


def create_organisation(
    session: BoundSession, name: str, owner_id: UUID | None, actor: Actor, now: datetime
) -> Organisation:
    """A new organisation inside a directory transaction: audit chain begun, owner if given."""
    organisation = Organisation(new_id(), name, rules.slug_of(name))
    org = organisation.id
    with within(session, org):
        if not sql.add_organisation(session, organisation, now):
            organisation = replace(organisation, slug=f"{organisation.slug}-{org.hex[-8:]}")
            added = sql.add_organisation(session, organisation, now)
            assert added, "an identifier's own suffix is never taken"
        if owner_id is not None:
            members_sql.add_member(session, org, owner_id, Role.OWNER, now)
        target = f"organisation:{org}"
        audit.record(session, org, actor, "organisation.created", target, now=now, name=name)
    return organisation


@dataclass(frozen=True)
class Organisations:
    """All organisations, for the operator."""

    database: Database
    clock: Clock

    def page(self, after: UUID | None, limit: int) -> Sequence[RowMapping]:
        """At most `limit` organisations after that one, oldest first."""
        with self.database.directory() as session:
            return sql.page(session, after, limit)

    def suspend(self, operator: Principal, org: UUID, reason: str) -> None:
        """The organisation's keys and tokens are refused: here at once, everywhere within 5 s.

        Its people log in to read what it owes; its data stays. Doing it twice changes nothing.
        Raises NotFound; Conflict for the operator's own.
        """
        if org == operator.tenant:
            raise Conflict(detail="the organisation that runs this hub cannot be suspended")
        self._set(operator, org, rules.printable(reason, 500, field="reason"))

    def resume(self, operator: Principal, org: UUID) -> None:
        """The organisation works again, with the keys and sessions it had."""
        self._set(operator, org, None)

    def _set(self, operator: Principal, org: UUID, reason: str | None) -> None:
        now, actor, target = self.clock.now(), operator.actor, f"organisation:{org}"
        access.require_fresh(operator, now)
        action = "organisation.resumed" if reason is None else "organisation.suspended"
        with self.database.directory() as session:
            if sql.organisation(session, org) is None:
                raise NotFound(organisation=org)
            if not sql.set_suspension(session, org, reason, now):
                return
            with within(session, org):
                audit.record(session, org, actor, action, target, now=now, reason=reason)
            if reason is not None:
                revocations_sql.log_revocations(session, RevocationKind.ORGANISATION, [org], now)
