"""Membership that follows a provider: who joins, in which role, and who no longer belongs."""

from datetime import datetime
from uuid import UUID

from user_billing.audit import service as audit
from user_billing.db.session import BoundSession, within
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.model import Actor, Person, RevocationKind, Role
from user_billing.oidc import rules, sql
from user_billing.oidc.providers import Provider
from user_billing.oidc.rules import Claims
from user_billing.organisations import sql as organisations_sql
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions import sql as sessions_sql


def follow(
    session: BoundSession, provider: Provider, person: Person, claims: Claims, now: datetime
) -> None:
    """The person's membership of the provider's organisation is what their groups say.

    Memberships that somebody here made stay as they are, and so does the last owner. A lesser role
    takes along keys and invitations, as it does when an administrator gives it.
    """
    if provider.organisation is None:
        return
    org = sql.organisation_by_slug(session, provider.organisation)
    if org is None:
        return
    actor, target = Actor(f"oidc:{provider.name}"), f"user:{person.id}"
    wanted = rules.wanted_role(provider, claims)
    with within(session, org):
        organisations_sql.lock(session, org)
        before = members_sql.role_of(session, org, person.id)
        if before is None:
            if wanted is not None and rules.may_join(provider, claims):
                members_sql.add_member(session, org, person.id, wanted, now)
                sql.set_mapped_by(session, org, person.id, provider.name)
                audit.record(session, org, actor, "member.joined", target, now=now, role=wanted)
            return
        is_mapped = sql.mapped_by(session, org, person.id) == provider.name
        if not is_mapped or wanted is before or _is_last_owner(session, org, before):
            return
        if wanted is None:
            members_sql.remove_member(session, org, person.id)
        else:
            members_sql.set_role(session, org, person.id, wanted)
        action = "member.removed" if wanted is None else "member.role_changed"
        roles = {"before": before, "after": wanted}
        audit.record(session, org, actor, action, target, now=now, **roles)
        revoked = standing.end_outgrown(session, org, actor, now)
    sessions_sql.revoke_member_sessions(session, person.id, org, now)
    revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)


def _is_last_owner(session: BoundSession, org: UUID, role: Role) -> bool:
    owners = sum(member.role is Role.OWNER for member in members_sql.members(session, org))
    return role is Role.OWNER and owners == 1
