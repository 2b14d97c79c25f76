"""SQL across organisations: the narrow path, in the role `cloudopshub_billing_directory`.

Who comes here and why it cannot be inside one organisation:

    log-in, set-up, invitations   a person or a token is known before the organisation is
    introspection                 a key's secret says which organisation it is of
    sessions, throttle            belong to people and addresses
    signing keys, revocations     belong to the installation (installation.py)

The role reads only the columns granted in migration 2026-11-22-1200 and writes to no organisation's
table but `api_key.last_used_at`. Every other write happens in `within(session, organisation)`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.orm import Session

from user_billing.accounts import installation
from user_billing.db import tables as t
from user_billing.db.session import Database
from user_billing.model import (
    Invitation,
    KnownKey,
    Limits,
    LiveSession,
    Login,
    Membership,
    Organisation,
    Person,
    RevocationKind,
    Role,
    Scope,
)
from user_billing.quotas import tables as q

_LIMITS = (
    t.plan.c.code,
    t.plan.c.samples_per_s,
    t.plan.c.burst_samples,
    t.plan.c.active_series,
    t.plan.c.retention_days,
    t.plan.c.query_samples,
    t.plan.c.query_concurrency,
    q.cap.c.min_interval_ms,
    q.cap.c.blocked,
)


# People


def login_of(session: Session, email: str) -> Login | None:
    """The account of an e-mail address with its password hash."""
    row = session.execute(
        select(
            t.user_account.c.id,
            t.user_account.c.email,
            t.user_account.c.disabled_at,
            t.credential.c.secret,
        )
        .outerjoin_from(
            t.user_account,
            t.credential,
            and_(t.credential.c.user_id == t.user_account.c.id, t.credential.c.kind == "password"),
        )
        .where(func.lower(t.user_account.c.email) == email.lower())
    ).one_or_none()
    if row is None:
        return None
    return Login(Person(row.id, row.email), row.secret, row.disabled_at is not None)


def add_person(
    session: Session, person: Person, *, password_hash: str, now: datetime
) -> Person | None:
    """A new account with a password; None when the address has one already."""
    done = session.execute(
        upsert(t.user_account)
        .values(id=person.id, email=person.email, created_at=now)
        .on_conflict_do_nothing()
        .returning(t.user_account.c.id)
    ).one_or_none()
    if done is None:
        return None
    session.execute(
        insert(t.credential).values(
            user_id=person.id, kind="password", secret=password_hash, updated_at=now
        )
    )
    return person


def set_password(session: Session, user_id: UUID, *, password_hash: str, now: datetime) -> None:
    """The password hash of an account is `password_hash` from here on."""
    session.execute(
        update(t.credential)
        .where(t.credential.c.user_id == user_id, t.credential.c.kind == "password")
        .values(secret=password_hash, updated_at=now)
    )


def lock_person(session: Session, user_id: UUID) -> None:
    """Until the transaction ends nobody else who calls this changes what the person has."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"billing.user_account:{user_id}"},
    )


def memberships(session: Session, user_id: UUID) -> list[Membership]:
    """The organisations of a person, oldest membership first."""
    rows = session.execute(
        select(
            t.organisation.c.id, t.organisation.c.name, t.organisation.c.slug, t.membership.c.role
        )
        .join_from(t.membership, t.organisation, t.organisation.c.id == t.membership.c.org_id)
        .where(t.membership.c.user_id == user_id)
        .order_by(t.membership.c.joined_at, t.organisation.c.id)
    )
    return [Membership(Organisation(r.id, r.name, r.slug), Role(r.role)) for r in rows]


def organisation_ids(session: Session) -> list[UUID]:
    """Every organisation."""
    return list(session.execute(select(t.organisation.c.id)).scalars())


def limits_of(session: Session, organisation_id: UUID) -> Limits | None:
    """The limits of an organisation's plan; None when there is no such organisation."""
    row = session.execute(
        select(*_LIMITS)
        .join_from(t.organisation, t.plan, t.plan.c.code == t.organisation.c.plan)
        .outerjoin(q.cap, q.cap.c.org_id == t.organisation.c.id)
        .where(t.organisation.c.id == organisation_id)
    ).one_or_none()
    return None if row is None else _limits(row)


def _limits(row: Any) -> Limits:
    return Limits(
        plan=row.code,
        samples_per_s=row.samples_per_s,
        burst_samples=row.burst_samples,
        active_series=row.active_series,
        retention_days=row.retention_days,
        query_samples=row.query_samples,
        query_concurrency=row.query_concurrency,
        min_interval_ms=row.min_interval_ms,
        blocked=row.blocked,
    )


# Sessions


def add_session(session: Session, live: LiveSession, *, token_hash: bytes) -> None:
    """A new browser session."""
    session.execute(
        insert(t.session).values(
            id=live.id,
            token_hash=token_hash,
            user_id=live.user.id,
            org_id=live.organisation_id,
            created_at=live.last_seen_at,
            fresh_at=live.fresh_at,
            last_seen_at=live.last_seen_at,
            expires_at=live.expires_at,
        )
    )


def session_by_token(session: Session, token_hash: bytes) -> LiveSession | None:
    """The session of a cookie, unless revoked, disabled or no longer backed by a membership."""
    return _one_session(session, t.session.c.token_hash == token_hash)


def session_by_id(session: Session, session_id: UUID) -> LiveSession | None:
    """The session a token was made from, under the same conditions."""
    return _one_session(session, t.session.c.id == session_id)


def _one_session(session: Session, condition: Any) -> LiveSession | None:
    s, u, m = t.session, t.user_account, t.membership
    row = session.execute(
        select(
            s.c.id, s.c.org_id, s.c.fresh_at, s.c.last_seen_at, s.c.expires_at,
            u.c.id.label("user_id"), u.c.email, m.c.role,
        )
        .join_from(s, u, u.c.id == s.c.user_id)
        .join(m, and_(m.c.user_id == s.c.user_id, m.c.org_id == s.c.org_id))
        .where(condition, s.c.revoked_at.is_(None), u.c.disabled_at.is_(None))
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return LiveSession(
        id=row.id,
        user=Person(row.user_id, row.email),
        organisation_id=row.org_id,
        role=Role(row.role),
        fresh_at=row.fresh_at,
        last_seen_at=row.last_seen_at,
        expires_at=row.expires_at,
    )


def touch_session(session: Session, session_id: UUID, now: datetime) -> None:
    """The session was used at `now`."""
    session.execute(update(t.session).where(t.session.c.id == session_id).values(last_seen_at=now))


def revoke_session(session: Session, session_id: UUID, now: datetime) -> None:
    """The session ends, and the revocation log tells every service so."""
    done = session.execute(
        update(t.session)
        .where(t.session.c.id == session_id, t.session.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(t.session.c.id)
    ).all()
    installation.log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


def revoke_member_sessions(
    session: Session, user_id: UUID, organisation_id: UUID, now: datetime
) -> None:
    """A person's sessions in one organisation end: their role there is another, or none."""
    done = session.execute(
        update(t.session)
        .where(
            t.session.c.user_id == user_id,
            t.session.c.org_id == organisation_id,
            t.session.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(t.session.c.id)
    ).all()
    installation.log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


# API keys

_KNOWN_KEY = str(
    select(
        t.api_key.c.id,
        t.api_key.c.org_id,
        t.api_key.c.hash,
        t.api_key.c.scopes,
        t.api_key.c.expires_at,
        t.api_key.c.revoked_at,
        *_LIMITS,
    )
    .join_from(t.api_key, t.organisation, t.organisation.c.id == t.api_key.c.org_id)
    .join(t.plan, t.plan.c.code == t.organisation.c.plan)
    .outerjoin(q.cap, q.cap.c.org_id == t.organisation.c.id)
    .where(t.api_key.c.hash == bindparam("hash"))
    .compile(dialect=psycopg2.dialect())  # type: ignore[no-untyped-call]  # not annotated upstream
)


def key_by_hash(database: Database, key_hash: bytes) -> KnownKey | None:
    """The key with that hash, whatever its state, with its organisation's limits."""
    row = database.read_once(_KNOWN_KEY, {"hash": key_hash})
    if row is None:
        return None
    return KnownKey(
        id=UUID(str(row.id)),
        organisation_id=UUID(str(row.org_id)),
        hash=bytes(row.hash),
        scopes=tuple(Scope(scope) for scope in row.scopes),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        limits=_limits(row),
    )


def note_use(session: Session, used_at: Mapping[UUID, datetime], resolution: timedelta) -> None:
    """`last_used_at` of keys, moved forward at most once each `resolution`.

    A lost minute of it harms nobody, so this commit does not wait for the disk.
    """
    session.execute(text("SELECT set_config('synchronous_commit', 'off', true)"))
    last = t.api_key.c.last_used_at
    for key_id, at in sorted(used_at.items()):
        session.execute(
            update(t.api_key)
            .where(t.api_key.c.id == key_id, or_(last.is_(None), last <= at - resolution))
            .values(last_used_at=at)
        )


# Invitations


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
