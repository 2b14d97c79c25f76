"""SQL across organisations: the narrow path, in the role `cloudopshub_billing_directory`.

Who comes here and why it cannot be inside one organisation:

    log-in, set-up, invitations   a person or a token is known before the organisation is
    introspection                 a key's secret says which organisation it is of
    sessions, throttle            belong to people and addresses
    signing keys, revocations     belong to the installation

The role reads only the columns granted in migration 2026-11-22-1200 and writes to no organisation's
table but `api_key.last_used_at`. Every other write happens in `within(session, organisation)`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.orm import Session

from user_billing.db import tables as t
from user_billing.db.session import Database
from user_billing.model import (
    Invitation,
    KeyState,
    KnownKey,
    Limits,
    LiveSession,
    Login,
    Membership,
    Organisation,
    Person,
    Revocation,
    RevocationKind,
    Role,
    Scope,
    Throttled,
)

_LIMITS = (
    t.plan.c.code,
    t.plan.c.samples_per_s,
    t.plan.c.burst_samples,
    t.plan.c.active_series,
    t.plan.c.retention_days,
    t.plan.c.query_samples,
    t.plan.c.query_concurrency,
)


@dataclass(frozen=True, slots=True)
class SetUp:
    """The state of the first start."""

    nonce: bytes
    home_organisation_id: UUID | None
    announced_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """A signing key at rest."""

    kid: str
    state: KeyState
    public_key: bytes
    private_key_sealed: bytes
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


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
    log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


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
    log_revocations(session, RevocationKind.SESSION, [row.id for row in done], now)


# The revocation log


def log_revocations(
    session: Session, kind: RevocationKind, refs: Iterable[UUID], now: datetime
) -> None:
    """A row more for each of `refs`, whose `seq` is above every committed one.

    Sequence order is not commit order: without the lock a poller could pass a number whose row
    commits later, and never see it. Held to the end of the transaction, so call it last.
    """
    rows = [{"kind": kind.value, "ref": ref, "at": now} for ref in refs]
    if rows:
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.revocation'))"))
        session.execute(insert(t.revocation), rows)


def revocations_after(session: Session, after: int, limit: int) -> list[Revocation]:
    """The rows above `after`, oldest first."""
    return _revocations(session, t.revocation.c.seq > after, limit)


def revocations_since(session: Session, since: datetime, limit: int) -> list[Revocation]:
    """The rows of that instant and later, oldest first."""
    return _revocations(session, t.revocation.c.at >= since, limit)


def _revocations(session: Session, condition: ColumnElement[bool], limit: int) -> list[Revocation]:
    rows = session.execute(
        select(t.revocation).where(condition).order_by(t.revocation.c.seq).limit(limit)
    )
    return [Revocation(r.seq, RevocationKind(r.kind), r.ref, r.at) for r in rows]


def last_revocation(session: Session) -> int:
    """The highest committed `seq`, 0 when there is none."""
    return int(session.execute(select(func.coalesce(func.max(t.revocation.c.seq), 0))).scalar_one())


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


# Throttle


def lock_throttle(session: Session, buckets: Sequence[str], now: datetime) -> dict[str, Throttled]:
    """The state of `buckets`, each row locked, in one order so that two log-ins never deadlock."""
    names = sorted(buckets)
    session.execute(
        upsert(t.throttle)
        .values([{"bucket": name, "failures": 0, "last_at": now} for name in names])
        .on_conflict_do_nothing()
    )
    rows = session.execute(
        select(t.throttle)
        .where(t.throttle.c.bucket.in_(names))
        .order_by(t.throttle.c.bucket)
        .with_for_update()
    )
    return {r.bucket: Throttled(r.failures, r.last_at, r.blocked_until) for r in rows}


def save_throttle(session: Session, bucket: str, state: Throttled) -> None:
    """The bucket is in `state`."""
    session.execute(
        update(t.throttle)
        .where(t.throttle.c.bucket == bucket)
        .values(failures=state.failures, last_at=state.last_at, blocked_until=state.blocked_until)
    )


def forgive(session: Session, *, reset: Sequence[str], step_back: Sequence[str]) -> None:
    """A log-in succeeded: `reset` start again from nothing, `step_back` lose the attempt it cost.

    A closed shared bucket stays closed: else an attacker could open it with an own account.
    """
    for bucket in sorted(reset):
        session.execute(
            update(t.throttle)
            .where(t.throttle.c.bucket == bucket)
            .values(failures=0, blocked_until=None)
        )
    for bucket in sorted(step_back):
        session.execute(
            update(t.throttle)
            .where(t.throttle.c.bucket == bucket)
            .values(failures=func.greatest(t.throttle.c.failures - 1, 0))
        )


# First start


def ensure_set_up(session: Session, nonce: bytes) -> None:
    """The row of the first start exists; whoever comes first chooses the nonce."""
    session.execute(upsert(t.setup).values(only=True, nonce=nonce).on_conflict_do_nothing())


def set_up(session: Session, *, lock: bool = False) -> SetUp | None:
    """The state of the first start; None before the service has ever run. lock: for update."""
    query = select(t.setup)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        return None
    return SetUp(bytes(row.nonce), row.home_org, row.announced_at, row.completed_at)


def mark_announced(session: Session, now: datetime) -> None:
    """The set-up link has been shown."""
    session.execute(update(t.setup).values(announced_at=now))


def mark_home(session: Session, organisation_id: UUID) -> None:
    """The first organisation is `organisation_id`."""
    session.execute(update(t.setup).values(home_org=organisation_id))


def mark_set_up(session: Session, now: datetime) -> None:
    """The installation has an owner: the set-up link is spent."""
    session.execute(update(t.setup).values(completed_at=now))


# Signing keys


def lock_signing_keys(session: Session) -> None:
    """Until the transaction ends nobody else changes signing keys."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing.signing_key'))"))


def signing_keys(session: Session) -> list[StoredSigningKey]:
    """Every signing key, oldest first."""
    rows = session.execute(select(t.signing_key).order_by(t.signing_key.c.created_at))
    return [
        StoredSigningKey(
            kid=r.kid,
            state=KeyState(r.state),
            public_key=bytes(r.public_key),
            private_key_sealed=bytes(r.private_key_sealed),
            created_at=r.created_at,
            activated_at=r.activated_at,
            retired_at=r.retired_at,
        )
        for r in rows
    ]


def add_signing_key(session: Session, key: StoredSigningKey) -> None:
    """One more signing key."""
    session.execute(
        insert(t.signing_key).values(
            kid=key.kid,
            state=key.state.value,
            public_key=key.public_key,
            private_key_sealed=key.private_key_sealed,
            created_at=key.created_at,
            activated_at=key.activated_at,
            retired_at=key.retired_at,
        )
    )


def signing_key_ids(session: Session) -> list[str]:
    """The `kid` of every signing key."""
    return list(session.execute(select(t.signing_key.c.kid)).scalars())


def drop_signing_keys(session: Session) -> None:
    """There is no signing key: nothing that was signed verifies any more."""
    session.execute(delete(t.signing_key))


def move_signing_key(session: Session, kid: str, state: KeyState, now: datetime) -> None:
    """The key is in `state` since `now`."""
    moment = {KeyState.ACTIVE: "activated_at", KeyState.RETIRED: "retired_at"}[state]
    session.execute(
        update(t.signing_key)
        .where(t.signing_key.c.kid == kid)
        .values({"state": state.value, moment: now})
    )


# Housekeeping


def sweep(session: Session, now: datetime, *, retired_for: timedelta) -> None:
    """What nobody can need any more is gone: dead keys, sessions, throttle rows, old revocations.

    The newest revocation stays, so that `last_revocation` never goes back.
    """
    session.execute(
        delete(t.signing_key).where(
            t.signing_key.c.state == KeyState.RETIRED.value,
            t.signing_key.c.retired_at < now - retired_for,
        )
    )
    session.execute(delete(t.session).where(t.session.c.expires_at < now - timedelta(days=7)))
    session.execute(delete(t.throttle).where(t.throttle.c.last_at < now - timedelta(days=2)))
    newest = select(func.max(t.revocation.c.seq)).scalar_subquery()
    session.execute(
        delete(t.revocation).where(
            t.revocation.c.at < now - timedelta(days=1), t.revocation.c.seq < newest
        )
    )
