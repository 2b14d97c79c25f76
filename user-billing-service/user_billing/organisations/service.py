"""A new organisation; and what the operator of the hub does with organisations."""

from collections.abc import Sequence
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
    session: BoundSession, *, name: str, owner_id: UUID | None, actor: Actor, clock: Clock
) -> Organisation:
    """A new organisation inside a directory transaction: audit chain begun, owner if given."""
    now = clock.now()
    identifier = new_id()
    slug = rules.slug_of(name)
    organisation = Organisation(identifier, name, slug)
    with within(session, identifier):
        if not sql.add_organisation(session, organisation, now):
            organisation = Organisation(identifier, name, f"{slug}-{identifier.hex[-8:]}")
            added = sql.add_organisation(session, organisation, now)
            assert added, "an identifier's own suffix is never taken"
        if owner_id is not None:
            members_sql.add_member(session, identifier, owner_id, Role.OWNER, now)
        target = f"organisation:{identifier}"
        audit.record(session, identifier, actor, "organisation.created", target, now=now, name=name)
    return organisation


class Organisations:
    """All organisations, for the operator."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def page(self, after: UUID | None, limit: int) -> Sequence[RowMapping]:
        """At most `limit` organisations after that one, oldest first."""
        with self._database.directory() as session:
            return sql.page(session, after, limit)

    def suspend(self, operator: Principal, org: UUID, reason: str) -> None:
        """The organisation's keys and tokens are refused: here at once, everywhere within 5 s.

        Its people log in to read what it owes; its data stays. Doing it twice changes nothing.
        Raises NotFound; Conflict for the operator's own.
        """
        access.require_fresh(operator, self._clock.now())
        if org == operator.tenant:
            raise Conflict(detail="the organisation that runs this hub cannot be suspended")
        self._set(operator, org, rules.normalise_reason(reason))

    def resume(self, operator: Principal, org: UUID) -> None:
        """The organisation works again, with the keys and sessions it had."""
        access.require_fresh(operator, self._clock.now())
        self._set(operator, org, None)

    def _set(self, operator: Principal, org: UUID, reason: str | None) -> None:
        now = self._clock.now()
        action = "organisation.resumed" if reason is None else "organisation.suspended"
        with self._database.directory() as session:
            if not sql.exists(session, org):
                raise NotFound(organisation=org)
            if not sql.set_suspension(session, org, reason, now):
                return
            with within(session, org):
                audit.record(
                    session, org, operator.actor, action, f"organisation:{org}", now=now,
                    reason=reason,
                )  # fmt: skip
            if reason is not None:
                revocations_sql.log_revocations(session, RevocationKind.ORGANISATION, [org], now)
