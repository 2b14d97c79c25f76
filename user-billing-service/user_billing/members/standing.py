"""What keys and invitations stand on: what their makers may do now.

    person ──makes──▶ key ──makes──▶ key …     each is led back to the person it began with
       └────────────────┴──invites──▶ invitation
A chain that begins with a service account stands on no person: it ends with the account.

A person who leaves or gets a lesser role takes along what they could no longer make, but for keys
that only write metrics: those are the organisation's, and its agents must not go silent.
Source: docs/adr/0014-identity-limits.md.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession
from user_billing.errors import Conflict, NotAuthenticated
from user_billing.keys import sql as keys_sql
from user_billing.members import sql
from user_billing.members.rules import is_last_owner
from user_billing.model import Actor, ApiKey, Invitation, Member, Principal, Role
from user_billing.organisations import sql as organisations_sql

SERVICE_ACCOUNT = "service_account:"

OUTGROWN = "whoever made it may no longer make it"


def require(session: BoundSession, principal: Principal) -> None:
    """Passes when the caller is still what it was when its request came.

    session: inside the caller's organisation, which is locked from here on, so that nobody
    is removed or demoted until the transaction ends. Raises NotAuthenticated.
    """
    org = principal.tenant
    organisations_sql.lock(session, org)
    if principal.user_id is not None:
        if sql.role_of(session, org, principal.user_id) is not principal.role:
            raise NotAuthenticated(detail="your role has changed: log in again")
    elif principal.credential == "key":
        key_id = UUID(principal.actor.subject.removeprefix("key:"))
        key = keys_sql.key(session, org, key_id)
        if key is None or key.revoked_at is not None:
            raise NotAuthenticated(detail="the API key is revoked")


def change_member(
    session: BoundSession,
    org: UUID,
    member: Member,
    role: Role | None,
    *,
    actor: Actor,
    now: datetime,
) -> list[UUID]:
    """The keys that ended because the member is of that role from here on (None: no member).

    session, answer: as of `end_outgrown`. The caller ends the member's sessions here.
    """
    where, target = {"org_id": org, "user_id": member.user_id}, f"user:{member.user_id}"
    if role is None:
        rows.drop(session, t.membership, **where)
        audit.record(session, org, actor, "member.removed", target, now=now, role=member.role)
    else:
        rows.change(session, t.membership, where, role=role)
        audit.record(
            session, org, actor, "member.role_changed", target,
            now=now, before=member.role, after=role,
        )  # fmt: skip
    barred = member.email if role is None else None
    return end_outgrown(session, org, actor, now, barred=barred)


def require_other_owner(session: BoundSession, org: UUID, user_id: UUID) -> None:
    """Passes when the organisation, locked, has an owner besides the person. Raises Conflict."""
    if is_last_owner(user_id, sql.members(session, org)):
        organisation = organisations_sql.organisation(session, org)
        raise Conflict(
            detail="an organisation keeps at least one owner: hand it over first",
            organisation=organisation.name if organisation else str(org),
        )


def end_outgrown(
    session: BoundSession, org: UUID, actor: Actor, now: datetime, *, barred: str | None = None
) -> list[UUID]:
    """The keys revoked because their maker may no longer make them; such invitations end too.

    session: inside the organisation, locked. barred: an address whose invitations end whoever made
    them. The caller writes the keys to the revocation log, last.
    """
    roles = {f"user:{m.user_id}": m.role for m in sql.members(session, org)}
    keys = {f"key:{key.id}": key for key in keys_sql.keys(session, org)}
    revoked = {
        subject: key
        for subject, key in keys.items()
        if key.revoked_at is None and outgrew(key, keys, roles)
    }
    for target, key in revoked.items():
        keys_sql.revoke_key(session, org, key.id, now)
        facts = {"name": key.name, "reason": OUTGROWN}
        audit.record(session, org, actor, "key.revoked", target, now=now, **facts)
    living = {s: key for s, key in keys.items() if key.revoked_at is None and s not in revoked}
    for invitation in sql.open_invitations(session, org, now):
        if invitation.email != barred and may_still_invite(invitation, living, roles):
            continue
        sql.close_invitation(session, org, invitation.id, accepted=False, now=now)
        target = f"invitation:{invitation.id}"
        audit.record(session, org, actor, "invitation.revoked", target, now=now, reason=OUTGROWN)
    return [key.id for key in revoked.values()]


def outgrew(key: ApiKey, keys: Mapping[str, ApiKey], roles: Mapping[str, Role]) -> bool:
    """Whether the person `key` began with may do less than the key.

    keys: all of the organisation by subject, dead ones too. roles: of its members by subject.
    """
    person = root(key.created_by, keys)
    return person.startswith("user:") and not access.may_outlive(key.scopes, roles.get(person))


def may_still_invite(
    invitation: Invitation, keys: Mapping[str, ApiKey], roles: Mapping[str, Role]
) -> bool:
    """Whether the maker of `invitation` could make it now. keys: the living ones by subject."""
    maker = invitation.invited_by
    if maker.startswith("key:"):
        key = keys.get(maker)
        return key is not None and access.ROLE_SCOPES[invitation.role] <= set(key.scopes)
    return not maker.startswith("user:") or access.may_invite(roles.get(maker), invitation.role)


def account_of(maker: str) -> UUID | None:
    """The service account that a maker is; None for people, keys and the first start."""
    account = maker.removeprefix(SERVICE_ACCOUNT)
    return None if account == maker else UUID(account)


def root(maker: str, keys: Mapping[str, ApiKey]) -> str:
    """The subject a chain of makers began with: a person, a service account, the first start."""
    for _ in range(len(keys) + 1):
        if (key := keys.get(maker)) is None:
            break
        maker = key.created_by
    return maker
