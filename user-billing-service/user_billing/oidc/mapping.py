"""Membership that follows a provider: who joins, in which role, and who no longer belongs."""

from datetime import datetime

from user_billing.audit import service as audit
from user_billing.db.session import BoundSession, within
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.members.rules import is_last_owner
from user_billing.model import Actor, Person, RevocationKind
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
    org = provider.organisation and sql.organisation_by_slug(session, provider.organisation)
    if not org:
        return
    actor, target = Actor(f"oidc:{provider.name}"), f"user:{person.id}"
    wanted = rules.wanted_role(provider, claims)
    with within(session, org):
        organisations_sql.lock(session, org)
        members = members_sql.members(session, org)
        before = next((m for m in members if m.user_id == person.id), None)
        if before is None:
            if wanted is not None and rules.may_join(provider, claims):
                by = provider.name
                members_sql.add_member(session, org, person.id, wanted, now, mapped_by=by)
                audit.record(session, org, actor, "member.joined", target, now=now, role=wanted)
            return
        is_mapped = sql.mapped_by(session, org, person.id) == provider.name
        if not is_mapped or wanted is before.role or is_last_owner(person.id, members):
            return
        revoked = standing.change_member(session, org, before, wanted, actor=actor, now=now)
    sessions_sql.revoke(session, person.id, now, org=org)
    revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
