"""SQL of API keys inside one organisation; a key by its hash, and its uses, across them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.orm import Session

from user_billing.db.session import Database
from user_billing.keys import tables as t
from user_billing.model import ApiKey, KnownKey, Scope
from user_billing.organisations import tables as organisations_t
from user_billing.organisations.sql import LIMITS, limits
from user_billing.quotas import tables as q

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
    t.api_key.c.networks,
    t.api_key.c.requests_per_s,
    t.api_key.c.replaced_by,
)


def keys(session: Session, org: UUID) -> list[ApiKey]:
    """Every key of the organisation, newest first, revoked ones included."""
    rows = session.execute(
        select(*_KEY_COLUMNS)
        .where(t.api_key.c.org_id == org)
        .order_by(t.api_key.c.created_at.desc(), t.api_key.c.id.desc())
    )
    return [_key(row) for row in rows]


def _key(row: Any) -> ApiKey:
    facts = dict(zip(row._fields, row, strict=True))
    facts |= {"scopes": tuple(map(Scope, row.scopes)), "networks": tuple(row.networks)}
    return ApiKey(**facts)


def key(session: Session, org: UUID, key_id: UUID) -> ApiKey | None:
    """The organisation's key, locked."""
    row = session.execute(
        select(*_KEY_COLUMNS)
        .where(t.api_key.c.org_id == org, t.api_key.c.id == key_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else _key(row)


def change_key(session: Session, org: UUID, key_id: UUID, **values: Any) -> None:
    """The key has these values: name, networks, requests_per_s, replaced_by, expires_at."""
    k = t.api_key
    session.execute(update(k).where(k.c.org_id == org, k.c.id == key_id).values(**values))


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
            networks=list(key.networks),
            requests_per_s=key.requests_per_s,
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


_KNOWN_KEY = str(
    select(
        t.api_key.c.id,
        t.api_key.c.org_id,
        t.api_key.c.hash,
        t.api_key.c.scopes,
        t.api_key.c.expires_at,
        t.api_key.c.revoked_at,
        t.api_key.c.networks,
        t.api_key.c.requests_per_s,
        organisations_t.organisation.c.suspended_at,
        *LIMITS,
    )
    .join_from(
        t.api_key,
        organisations_t.organisation,
        organisations_t.organisation.c.id == t.api_key.c.org_id,
    )
    .join(organisations_t.plan, organisations_t.plan.c.code == organisations_t.organisation.c.plan)
    .outerjoin(q.cap, q.cap.c.org_id == organisations_t.organisation.c.id)
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
        networks=tuple(row.networks),
        requests_per_s=row.requests_per_s,
        limits=limits(row),
        is_suspended=row.suspended_at is not None,
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
