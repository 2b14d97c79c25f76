"""SQL of members and invitations, inside one organisation; by an invitation's token across them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.members import tables as t
from user_billing.model import Invitation, Member, Role
from user_billing.people import tables as people_t


def members(session: Session, org: UUID) -> list[Member]:
    """The members, oldest first."""
    m, u = t.membership, people_t.user_account
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


def add_member(session: Session, org: UUID, user_id: UUID, role: Role, now: datetime) -> bool:
    """Whether the person was added; False when they are a member already."""
    done = session.execute(
        upsert(t.membership)
        .values(org_id=org, user_id=user_id, role=role.value, joined_at=now)
        .on_conflict_do_nothing()
        .returning(t.membership.c.user_id)
    ).one_or_none()
    return done is not None


def set_role(session: Session, org: UUID, user_id: UUID, role: Role) -> None:
    """The member has `role`."""
    session.execute(
        update(t.membership)
        .where(t.membership.c.org_id == org, t.membership.c.user_id == user_id)
        .values(role=role.value)
    )


def remove_member(session: Session, org: UUID, user_id: UUID) -> None:
    """The person is no member."""
    session.execute(
        delete(t.membership).where(t.membership.c.org_id == org, t.membership.c.user_id == user_id)
    )


_INVITATION = (
    t.invitation.c.id,
    t.invitation.c.org_id,
    t.invitation.c.email,
    t.invitation.c.role,
    t.invitation.c.expires_at,
    t.invitation.c.invited_by,
)


def _invitation(row: Any) -> Invitation:
    return Invitation(row.id, row.org_id, row.email, Role(row.role), row.expires_at, row.invited_by)


def open_invitations(session: Session, org: UUID, now: datetime) -> list[Invitation]:
    """The invitations that can still be accepted, newest first."""
    i = t.invitation
    rows = session.execute(
        select(*_INVITATION)
        .where(
            i.c.org_id == org,
            i.c.accepted_at.is_(None),
            i.c.revoked_at.is_(None),
            i.c.expires_at > now,
        )
        .order_by(i.c.created_at.desc())
    )
    return [_invitation(row) for row in rows]


def invitations_since(session: Session, org: UUID, since: datetime) -> int:
    """How many invitations were made, whatever became of them."""
    i = t.invitation.c
    query = select(func.count()).where(i.org_id == org, i.created_at > since)
    return int(session.execute(query).scalar_one())


def add_invitation(
    session: Session, invitation: Invitation, *, token_hash: bytes, now: datetime
) -> None:
    """One more open invitation; an earlier one for the same address is revoked."""
    i = t.invitation
    session.execute(
        update(i)
        .where(
            i.c.org_id == invitation.organisation_id,
            i.c.email == invitation.email,
            i.c.accepted_at.is_(None),
            i.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    session.execute(
        insert(i).values(
            org_id=invitation.organisation_id,
            id=invitation.id,
            email=invitation.email,
            role=invitation.role.value,
            token_hash=token_hash,
            invited_by=invitation.invited_by,
            created_at=now,
            expires_at=invitation.expires_at,
        )
    )


def close_invitation(
    session: Session, org: UUID, invitation_id: UUID, *, accepted: bool, now: datetime
) -> Invitation | None:
    """The invitation, now accepted or revoked; None when it was not open."""
    i = t.invitation
    row = session.execute(
        update(i)
        .where(
            i.c.org_id == org,
            i.c.id == invitation_id,
            i.c.accepted_at.is_(None),
            i.c.revoked_at.is_(None),
        )
        .values({"accepted_at" if accepted else "revoked_at": now})
        .returning(*_INVITATION)
    ).one_or_none()
    return None if row is None else _invitation(row)


def invitation_by_token(session: Session, token_hash: bytes) -> Invitation | None:
    """The open invitation of a token, expired ones included."""
    row = session.execute(
        select(t.invitation).where(
            t.invitation.c.token_hash == token_hash,
            t.invitation.c.accepted_at.is_(None),
            t.invitation.c.revoked_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    return Invitation(row.id, row.org_id, row.email, Role(row.role), row.expires_at, row.invited_by)
