"""A new organisation."""

from uuid import UUID

from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, within
from user_billing.identifiers import new_id
from user_billing.members import sql as members_sql
from user_billing.model import Actor, Organisation, Role
from user_billing.organisations import rules, sql


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
