"""SQL of members and invitations, inside one organisation; by an invitation's token across them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.model import Invitation, Member, Role


def members(session: Session, org: UUID) -> list[Member]:
    """The members, oldest first."""
    m, u = t.membership, t.user_account
    rows = session.execute(
        select(m.c.user_id, u.c.email, m.c.role, m.c.joined_at)
        .join_from(m, u, u.c.id == m.c.user_id)
        .where(m.c.org_id == org)
        .order_by(m.c.joined_at, m.c.user_id)
    )
    return [Member(r.user_id, r.email, Role(r.role), r.joined_at) for r in rows]


def role_of(session: Session, org: UUID, user_id: UUID) -> Role | None:
    """The member's role; None for who is no member."""
    m = t.membership
    role = session.execute(
        select(m.c.role).where(m.c.org_id == org, m.c.user_id == user_id)
    ).scalar_one_or_none()
    return None if role is None else Role(role)


def add_member(
    session: Session,
    org: UUID,
    user_id: UUID,
    role: Role,
    now: datetime,
    *,
    mapped_by: str | None = None,
) -> bool:
    """Whether the person was added; False when they are a member already.

    mapped_by: the provider that the membership follows.
    """
    m = t.membership
    values = {"org_id": org, "user_id": user_id, "role": role, "joined_at": now}
    made = upsert(m).values(**values, mapped_by=mapped_by).on_conflict_do_nothing()
    return session.execute(made.returning(m.c.user_id)).one_or_none() is not None


_I = t.invitation.c
_INVITATION = (_I.id, _I.org_id, _I.email, _I.role, _I.expires_at, _I.invited_by)
_IS_OPEN = and_(_I.accepted_at.is_(None), _I.revoked_at.is_(None))


def _invitation(row: Any) -> Invitation:
    return Invitation(row.id, row.org_id, row.email, Role(row.role), row.expires_at, row.invited_by)


def open_invitations(session: Session, org: UUID, now: datetime) -> list[Invitation]:
    """The invitations that can still be accepted, newest first."""
    query = select(*_INVITATION).where(_I.org_id == org, _IS_OPEN, _I.expires_at > now)
    return [_invitation(row) for row in session.execute(query.order_by(_I.created_at.desc()))]


def invitations_since(session: Session, org: UUID, since: datetime) -> int:
    """How many invitations were made, whatever became of them."""
    query = select(func.count()).where(_I.org_id == org, _I.created_at > since)
    return int(session.execute(query).scalar_one())


def add_invitation(
    session: Session, invitation: Invitation, *, token_hash: bytes, now: datetime
) -> None:
    """One more open invitation; an earlier one for the same address is revoked."""
    org = invitation.organisation_id
    earlier = update(t.invitation).where(_I.org_id == org, _I.email == invitation.email, _IS_OPEN)
    session.execute(earlier.values(revoked_at=now))
    session.execute(
        insert(t.invitation).values(
            org_id=org,
            id=invitation.id,
            email=invitation.email,
            role=invitation.role,
            token_hash=token_hash,
            invited_by=invitation.invited_by,
            created_at=now,
            expires_at=invitation.expires_at,
        )
    )


def close_invitation(
    session: Session, org: UUID, invitation_id: UUID, *, accepted: bool, now: datetime
) -> bool:
    """Whether the invitation was open; it is accepted or revoked now."""
    query = update(t.invitation).where(_I.org_id == org, _I.id == invitation_id, _IS_OPEN)
    closed = query.values({"accepted_at" if accepted else "revoked_at": now})
    return session.execute(closed.returning(_I.id)).one_or_none() is not None


def invitation_by_token(session: Session, token_hash: bytes, now: datetime) -> Invitation | None:
    """The invitation of a token, which can be accepted."""
    query = select(*_INVITATION).where(_I.token_hash == token_hash, _IS_OPEN, _I.expires_at > now)
    row = session.execute(query).one_or_none()
    return None if row is None else _invitation(row)
