"""SQL of what belongs to the installation: its log of revocations, throttle, first start, keys to
sign with, housekeeping. In the role `cloudopshub_billing_directory`, as `directory.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import tables as t
from user_billing.model import KeyState, Revocation, RevocationKind, Throttled


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
