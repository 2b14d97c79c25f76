"""SQL of API keys inside one organisation; a key by its hash, and its uses, across them."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql import psycopg2
from sqlalchemy.orm import Session

from user_billing.db import people as t
from user_billing.db.session import Database
from user_billing.keyring import PEPPER_VERSION
from user_billing.model import ApiKey, KnownKey, Scope
from user_billing.organisations.sql import LIMITS, limits
from user_billing.quotas import tables as q

_K = t.api_key.c
_KEY = tuple(_K[field.name] for field in fields(ApiKey))


def keys(
    session: Session, org: UUID, *, made_by: str | None = None, living_at: datetime | None = None
) -> list[ApiKey]:
    """Every key of the organisation, newest first, revoked ones included.

    made_by: those of that maker. living_at: those neither revoked nor expired then.
    """
    query = select(*_KEY).where(_K.org_id == org)
    if made_by is not None:
        query = query.where(_K.created_by == made_by)
    if living_at is not None:
        ends_later = or_(_K.expires_at.is_(None), _K.expires_at > living_at)
        query = query.where(_K.revoked_at.is_(None), ends_later)
    rows = session.execute(query.order_by(_K.created_at.desc(), _K.id.desc()))
    return [_key(row) for row in rows.mappings()]


def _key(row: RowMapping) -> ApiKey:
    lists = {"scopes": tuple(map(Scope, row["scopes"])), "networks": tuple(row["networks"])}
    return ApiKey(**{**row, **lists})


def key(session: Session, org: UUID, key_id: UUID) -> ApiKey | None:
    """The organisation's key, locked."""
    query = select(*_KEY).where(_K.org_id == org, _K.id == key_id).with_for_update()
    row = session.execute(query).mappings().one_or_none()
    return None if row is None else _key(row)


def add_key(session: Session, org: UUID, key: ApiKey, *, key_hash: bytes) -> bool:
    """Whether the key was added; False when a key with that hash exists, here or elsewhere."""
    facts = {column.name: getattr(key, column.name) for column in _KEY}
    facts |= {"scopes": list(key.scopes), "networks": list(key.networks)}
    added = upsert(t.api_key).values(
        **facts, org_id=org, hash=key_hash, pepper_version=PEPPER_VERSION
    )
    done = session.execute(added.on_conflict_do_nothing().returning(_K.id))
    return done.one_or_none() is not None


def revoke_key(session: Session, org: UUID, key_id: UUID, now: datetime) -> str | None:
    """The name of the key that is revoked by this call; None when there is no live one."""
    query = update(t.api_key).where(_K.org_id == org, _K.id == key_id, _K.revoked_at.is_(None))
    return session.execute(query.values(revoked_at=now).returning(_K.name)).scalar_one_or_none()


_O = t.organisation.c
_KNOWN_KEY = str(
    select(
        _K.id, _K.org_id, _K.hash, _K.scopes, _K.expires_at, _K.revoked_at, _K.networks,
        _K.requests_per_s, _O.suspended_at, *LIMITS,
    )
    .join_from(t.api_key, t.organisation, _O.id == _K.org_id)
    .join(t.plan, t.plan.c.code == _O.plan)
    .outerjoin(q.cap, q.cap.c.org_id == _O.id)
    .where(_K.hash == bindparam("hash"))
    .compile(dialect=psycopg2.dialect())  # type: ignore[no-untyped-call]  # not annotated upstream
)  # fmt: skip


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
    last = _K.last_used_at
    for key_id, at in sorted(used_at.items()):
        is_due = or_(last.is_(None), last <= at - resolution)
        query = update(t.api_key).where(_K.id == key_id, is_due)
        session.execute(query.values(last_used_at=at))
