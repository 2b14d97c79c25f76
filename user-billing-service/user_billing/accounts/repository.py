"""SQL inside one organisation, in the role `cloudopshub_billing_app`.

Row-level security already hides every other organisation; each statement still names its own, so
that neither wall alone carries the house.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.accounts.audit_chain import GENESIS
from user_billing.db import tables as t
from user_billing.model import ApiKey, AuditEvent, Invitation, Member, Organisation, Role, Scope


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where an organisation's chain stands."""

    seq: int
    hash: bytes


# The organisation


def add_organisation(session: Session, organisation: Organisation, now: datetime) -> bool:
    """Whether the organisation was added; False when its slug is taken."""
    done = session.execute(
        upsert(t.organisation)
        .values(
            id=organisation.id,
            name=organisation.name,
            slug=organisation.slug,
            plan="showback",
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=[t.organisation.c.slug])
        .returning(t.organisation.c.id)
    ).one_or_none()
    if done is None:
        return False
    session.execute(insert(t.audit_head).values(org_id=organisation.id, seq=0, hash=GENESIS))
    return True


def organisation(session: Session, org: UUID) -> Organisation | None:
    """The organisation itself."""
    row = session.execute(select(t.organisation).where(t.organisation.c.id == org)).one_or_none()
    return None if row is None else Organisation(row.id, row.name, row.slug)


def rename(session: Session, org: UUID, *, name: str) -> None:
    """The organisation is called `name`; its slug stays, addresses do not break."""
    session.execute(update(t.organisation).where(t.organisation.c.id == org).values(name=name))


def lock(session: Session, org: UUID) -> None:
    """Until the transaction ends nobody else changes members, keys or audit of the organisation."""
    session.execute(
        select(t.organisation.c.id)
        .where(t.organisation.c.id == org)
        .with_for_update(key_share=True)
    )


# Members


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


# Invitations

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


# API keys

_KEY_COLUMNS = (
    t.api_key.c.id,
    t.api_key.c.name,
    t.api_key.c.start,
    t.api_key.c.scopes,
    t.api_key.c.created_at,
    t.api_key.c.created_by,
    t.api_key.c.last_used_at,
    t.api_key.c.expires_at,
    t.api_key.c.revoked_at,
)


def keys(session: Session, org: UUID) -> list[ApiKey]:
    """Every key of the organisation, newest first, revoked ones included."""
    rows = session.execute(
        select(*_KEY_COLUMNS)
        .where(t.api_key.c.org_id == org)
        .order_by(t.api_key.c.created_at.desc(), t.api_key.c.id.desc())
    )
    return [
        ApiKey(
            id=r.id,
            name=r.name,
            start=r.start,
            scopes=tuple(Scope(scope) for scope in r.scopes),
            created_at=r.created_at,
            created_by=r.created_by,
            last_used_at=r.last_used_at,
            expires_at=r.expires_at,
            revoked_at=r.revoked_at,
        )
        for r in rows
    ]


def add_key(
    session: Session, org: UUID, key: ApiKey, *, key_hash: bytes, pepper_version: int
) -> bool:
    """Whether the key was added; False when a key with that hash exists, here or elsewhere."""
    done = session.execute(
        upsert(t.api_key)
        .values(
            org_id=org,
            id=key.id,
            name=key.name,
            start=key.start,
            hash=key_hash,
            pepper_version=pepper_version,
            scopes=[scope.value for scope in key.scopes],
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
        )
        .on_conflict_do_nothing()
        .returning(t.api_key.c.id)
    ).one_or_none()
    return done is not None


def revoke_key(session: Session, org: UUID, key_id: UUID, now: datetime) -> str | None:
    """The name of the key that is revoked by this call; None when there is no live one."""
    return session.execute(
        update(t.api_key)
        .where(
            t.api_key.c.org_id == org, t.api_key.c.id == key_id, t.api_key.c.revoked_at.is_(None)
        )
        .values(revoked_at=now)
        .returning(t.api_key.c.name)
    ).scalar_one_or_none()


def is_key_live(session: Session, org: UUID, key_id: UUID) -> bool:
    """Whether the organisation has that key and it is not revoked."""
    k = t.api_key
    query = select(k.c.id).where(k.c.org_id == org, k.c.id == key_id, k.c.revoked_at.is_(None))
    return session.execute(query).one_or_none() is not None


def has_key(session: Session, org: UUID, key_id: UUID) -> bool:
    """Whether the organisation has that key, live or revoked."""
    query = select(t.api_key.c.id).where(t.api_key.c.org_id == org, t.api_key.c.id == key_id)
    return session.execute(query).one_or_none() is not None


# Audit


def take_audit_head(session: Session, org: UUID) -> AuditHead:
    """Where the chain stands, locked: numbers have no gap and no repeat."""
    row = session.execute(
        select(t.audit_head).where(t.audit_head.c.org_id == org).with_for_update()
    ).one()
    return AuditHead(row.seq, bytes(row.hash))


def add_audit_event(session: Session, event: AuditEvent) -> None:
    """The event is the chain's new end."""
    session.execute(
        insert(t.audit_event).values(
            org_id=event.organisation_id,
            seq=event.seq,
            at=event.at,
            actor=event.actor,
            action=event.action,
            target=event.target,
            detail=event.detail,
            request_id=event.request_id,
            prev_hash=event.previous_hash,
            hash=event.hash,
        )
    )
    session.execute(
        update(t.audit_head)
        .where(t.audit_head.c.org_id == event.organisation_id)
        .values(seq=event.seq, hash=event.hash)
    )


def audit_events(
    session: Session, org: UUID, *, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """Events below `before`, newest first."""
    query = select(t.audit_event).where(t.audit_event.c.org_id == org)
    if before is not None:
        query = query.where(t.audit_event.c.seq < before)
    rows = session.execute(query.order_by(t.audit_event.c.seq.desc()).limit(limit))
    return [
        AuditEvent(
            organisation_id=r.org_id,
            seq=r.seq,
            at=r.at,
            actor=r.actor,
            action=r.action,
            target=r.target,
            detail=r.detail,
            request_id=r.request_id,
            previous_hash=bytes(r.prev_hash),
            hash=bytes(r.hash),
        )
        for r in rows
    ]
