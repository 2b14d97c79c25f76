"""A worker's side of watches: those that are due, a batch at a time, under one token.

    due ──claim (SKIP LOCKED)──▶ leased, attempts + 1 ──finish──▶ due a step later, attempts 0
                                        │ lease ran out, process lost, trouble: due after a back-off
                                        └──▶ due

As with jobs the token fences: who lost it stores nothing more. A watch stays with the worker whose
child remembers it as long as that worker comes within STICKY_S.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from analysis_processing.jobs.claims import LeaseLost
from analysis_processing.watch.watches import Watch

BATCH = 16
STICKY_S = 10.0
BACK_OFF_S = 5.0
BACK_OFF_MAX_S = 600.0

# Round by round over the tenants: one with a hundred due watches delays another's single one by
# one watch at most. What failed before runs alone, so that it takes no other with it.
DUE = text("""
WITH due AS (
  SELECT id, due_at, attempts, row_number() OVER (PARTITION BY tenant_id ORDER BY due_at) AS turn
  FROM analysis.watch
  WHERE enabled AND due_at <= :now AND (lease_until IS NULL OR lease_until < :now)
    AND (claimed_by IS NULL OR claimed_by = :worker OR due_at <= :sticky))
SELECT w.id, w.attempts FROM analysis.watch w JOIN due USING (id)
WHERE w.lease_until IS NULL OR w.lease_until < :now
ORDER BY due.turn, due.due_at, w.id LIMIT :batch
FOR UPDATE OF w SKIP LOCKED
""")
TAKE = text("""
UPDATE analysis.watch
SET claim = :token, claimed_by = :worker, lease_until = :until, attempts = attempts + 1
WHERE id = ANY (:ids) RETURNING *
""")


@dataclass(frozen=True, slots=True)
class WatchClaim:
    """A worker's right to run a watch until its lease ends; a batch shares one token."""

    watch: Watch
    token: UUID


def claim(db: Connection, worker: str, now: datetime, lease_s: float) -> list[WatchClaim]:
    """Watches that are due, now this worker's until `now + lease_s`; empty when there are none."""
    sticky = now - timedelta(seconds=STICKY_S)
    values = {"now": now, "worker": worker, "sticky": sticky, "batch": BATCH}
    rows = db.execute(DUE, values).all()
    if not rows:
        return []
    ids = [rows[0].id] if rows[0].attempts else [row.id for row in rows if not row.attempts]
    token, until = uuid4(), now + timedelta(seconds=lease_s)
    claimed = db.execute(TAKE, {"token": token, "worker": worker, "until": until, "ids": ids})
    by_id = {row["id"]: WatchClaim(Watch.of(row), token) for row in claimed.mappings()}
    return [by_id[identity] for identity in ids]


def heartbeat(db: Connection, token: UUID, now: datetime, lease_s: float) -> None:
    """The leases of what is left of the batch have moved on."""
    query = text("UPDATE analysis.watch SET lease_until = :until WHERE claim = :token")
    db.execute(query, {"token": token, "until": now + timedelta(seconds=lease_s)})


def lock(db: Connection, owned: WatchClaim) -> None:
    """The watch is ours until the transaction ends; raises LeaseLost."""
    query = text("SELECT 1 FROM analysis.watch WHERE id = :id AND claim = :token FOR UPDATE")
    if db.scalar(query, {"id": owned.watch.id, "token": owned.token}) is None:
        raise LeaseLost


def finish(
    db: Connection, owned: WatchClaim, due: datetime, now: datetime, error: str | None
) -> None:
    """The watch ran, and runs again at `due`; `error` says what is not right. Raises LeaseLost."""
    lock(db, owned)
    query = text("""
        UPDATE analysis.watch
        SET claim = NULL, lease_until = NULL, attempts = 0, due_at = :due, ran_at = :now,
          error = :error
        WHERE id = :id""")
    db.execute(query, {"id": owned.watch.id, "due": due, "now": now, "error": error})


def try_again(db: Connection, token: UUID, now: datetime, error: str, *only: UUID) -> None:
    """What is left of the batch, or `only` these of it, waits for another attempt, and says why."""
    query = text("""
        UPDATE analysis.watch
        SET claim = NULL, lease_until = NULL, error = :error,
            due_at = CAST(:now AS timestamptz) + make_interval(secs =>
              least(:back_off * 2.0 ^ least(greatest(attempts - 1, 0), 20), :back_off_max))
        WHERE claim = :token AND (:all OR id = ANY (:only))""")
    bounds = {"back_off": BACK_OFF_S, "back_off_max": BACK_OFF_MAX_S}
    chosen = {"token": token, "all": not only, "only": list(only)}
    db.execute(query, {**chosen, **bounds, "now": now, "error": error[:1_000]})


def give_back(db: Connection, token: UUID) -> None:
    """What is left of the batch is as if never claimed: its worker stops in an orderly way."""
    query = text("""
        UPDATE analysis.watch SET claim = NULL, claimed_by = NULL, lease_until = NULL,
          attempts = greatest(attempts - 1, 0) WHERE claim = :token""")
    db.execute(query, {"token": token})
