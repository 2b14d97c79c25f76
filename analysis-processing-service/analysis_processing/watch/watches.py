"""A tenant's watches: made, read, changed, deleted. Every statement carries the tenant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from analysis_processing.errors import NameTaken, TooManyWatches, WatchNotFound
from analysis_processing.watch import events


@dataclass(frozen=True, slots=True)
class Watch:
    """A question that is asked again each step, and how far it was answered.

    next_ms: the first column that was not judged; alarm_ms: columns before it are in the alarm
    series; live_ms: what ended before it was learned from and is no event. None before a run.
    """

    id: UUID
    tenant_id: UUID
    name: str
    query: str
    step_ms: int
    params: dict[str, Any]
    enabled: bool
    created_by: str
    created_at: datetime
    live_ms: int | None
    next_ms: int | None
    alarm_ms: int | None
    series: int
    error: str | None
    ran_at: datetime | None
    attempts: int

    @property
    def is_alarm_due(self) -> bool:
        """Whether columns that were judged are not in the alarm series yet."""
        return self.next_ms is not None and (self.alarm_ms or 0) < self.next_ms

    @classmethod
    def of(cls, row: RowMapping) -> "Watch":
        """The watch of a row of `analysis.watch`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


MAKE = text("""
INSERT INTO analysis.watch
  (tenant_id, name, query, step_ms, params, enabled, created_by, created_at, due_at)
VALUES (:tenant, :name, :query, :step_ms, CAST(:params AS jsonb), :enabled, :by, :now, :now)
ON CONFLICT (tenant_id, name) DO NOTHING RETURNING *
""")
# What was learned of another question is worth nothing; the claim of whoever judges the old one
# is gone, so that it can store nothing more.
CHANGE = text("""
UPDATE analysis.watch SET
  name = :name, query = :query, step_ms = :step_ms, params = CAST(:params AS jsonb),
  enabled = :enabled, due_at = :now, attempts = 0, error = NULL,
  claim = NULL, claimed_by = NULL, lease_until = NULL,
  live_ms = CASE WHEN :afresh THEN NULL ELSE live_ms END,
  next_ms = CASE WHEN :afresh THEN NULL ELSE next_ms END
WHERE tenant_id = :tenant AND id = :id RETURNING *
""")


def make(
    db: Connection,
    tenant: UUID,
    wanted: Mapping[str, Any],
    *,
    created_by: str,
    now: datetime,
    count_max: int,
) -> Watch:
    """A new watch, due at once; raises NameTaken, or TooManyWatches at `count_max`.

    wanted: name, query, step_ms, params, enabled, all checked.
    """
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('watch:' || :tenant, 0))"
    db.execute(text(lock), {"tenant": str(tenant)})
    count = db.scalar(
        text("SELECT count(*) FROM analysis.watch WHERE tenant_id = :tenant"), {"tenant": tenant}
    )
    if (count or 0) >= count_max:
        raise TooManyWatches(watches=count, limit=count_max)
    values = {**wanted, "params": json.dumps(wanted["params"])}
    row = db.execute(MAKE, {**values, "tenant": tenant, "by": created_by, "now": now}).mappings()
    if (made := row.first()) is None:
        raise NameTaken(name=wanted["name"])
    return Watch.of(made)


def of_tenant(db: Connection, tenant: UUID) -> list[Watch]:
    """The tenant's watches by name."""
    query = text("SELECT * FROM analysis.watch WHERE tenant_id = :tenant ORDER BY name")
    return [Watch.of(row) for row in db.execute(query, {"tenant": tenant}).mappings()]


def get(db: Connection, tenant: UUID, identity: UUID) -> Watch:
    """The tenant's watch of that id, locked; raises WatchNotFound."""
    query = text("SELECT * FROM analysis.watch WHERE tenant_id = :tenant AND id = :id FOR UPDATE")
    row = db.execute(query, {"tenant": tenant, "id": identity}).mappings().first()
    if row is None:
        raise WatchNotFound(id=identity)
    return Watch.of(row)


def change(
    db: Connection, tenant: UUID, identity: UUID, wanted: Mapping[str, Any], now: datetime
) -> Watch:
    """The watch is as `wanted`; with another question, or stopped, it ends what is open.

    Raises WatchNotFound, NameTaken.
    """
    stored = get(db, tenant, identity)
    afresh = any(getattr(stored, name) != wanted[name] for name in ("query", "step_ms", "params"))
    other = "SELECT 1 FROM analysis.watch WHERE tenant_id = :tenant AND name = :name AND id <> :id"
    mine = {"tenant": tenant, "id": identity}
    if db.scalar(text(other), {**mine, "name": wanted["name"]}):
        raise NameTaken(name=wanted["name"])
    if afresh or not wanted["enabled"]:
        events.close(db, tenant, identity, stored.next_ms)
    if afresh:
        for table in ("watch_state", "watch_journal"):
            db.execute(text(f"DELETE FROM analysis.{table} WHERE watch_id = :id"), mine)  # noqa: S608  two names of ours
    values = {**wanted, **mine, "params": json.dumps(wanted["params"])}
    return Watch.of(db.execute(CHANGE, {**values, "afresh": afresh, "now": now}).mappings().one())


def delete(db: Connection, tenant: UUID, identity: UUID) -> None:
    """The watch is gone with all it remembers; its events stay, and none is open."""
    stored = get(db, tenant, identity)
    events.close(db, tenant, identity, stored.next_ms)
    db.execute(text("DELETE FROM analysis.watch WHERE id = :id"), {"id": identity})
