"""A worker's side of the queue: claim, heartbeat, finish, sweep.

    queued, or running with a lease that ran out ──claim (SKIP LOCKED)──▶ running, fresh token
    heartbeat (token) ──▶ lease moved on, cancel flag and progress exchanged
    finish | give_back (token) ──▶ out of the worker's hands

The token fences: whoever lost the lease can no longer write a single row, so a job that is run
twice by a worker believed dead still has one result. Times come from `now`, the database's clock in
production, so that workers need not agree on the time.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Connection, Engine, delete, func, select, text, update

from analysis_processing.chassis.database import DatabaseUnavailable
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.repository import notify
from analysis_processing.jobs.tables import chunk, job, series, to_job
from analysis_processing.jobs.usage import count_run
from analysis_processing.model import Claim, Progress, State

log = structlog.get_logger()
TimeOf = Callable[["Connection"], datetime]

BACK_OFF_S = 2.0
BACK_OFF_MAX_S = 60.0
SWEEP_ROWS_MAX = 200

# The tenant with the fewest running jobs goes first, then the one served longest ago, then the
# oldest job: a tenant with a hundred queued jobs delays another's single one by one job at most.
NEXT = text("""
WITH load AS (
  SELECT tenant_id,
         count(*) FILTER (WHERE state = 'running' AND lease_until >= :now) AS running,
         max(started_at) AS served_at
  FROM analysis.job
  WHERE tenant_id IN (SELECT tenant_id FROM analysis.job WHERE state IN ('queued', 'running'))
  GROUP BY tenant_id)
SELECT j.id
FROM analysis.job j JOIN load USING (tenant_id)
WHERE ((j.state = 'queued' AND j.run_after <= :now)
    OR (j.state = 'running' AND j.lease_until < :now))
ORDER BY load.running, load.served_at NULLS FIRST, j.created_at, j.id
LIMIT 1
FOR UPDATE OF j SKIP LOCKED
""")


class LeaseLost(Exception):
    """Somebody else has, or may take, the job: stop, and write nothing more."""


def database_clock(db: Connection) -> datetime:
    """The database's time: one clock for all workers."""
    now = db.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime)
    return now


def back_off_s(attempts: int) -> float:
    """Seconds before another attempt after `attempts` of them: doubling, bounded."""
    return min(BACK_OFF_S * 2.0 ** max(attempts - 1, 0), BACK_OFF_MAX_S)


def claim(
    db: Connection, worker: str, now: datetime, lease_s: float, attempts_max: int
) -> Claim | None:
    """The next job, now this worker's until `now + lease_s`; None when there is none to run.

    A job whose workers were lost `attempts_max` times fails here instead of killing another one.
    """
    while (job_id := db.scalar(NEXT, {"now": now})) is not None:
        candidate = to_job(db.execute(select(job).where(job.c.id == job_id)).one())
        ending: dict[str, str] | None = None
        if candidate.cancel_requested:
            ending = {"state": State.CANCELLED}
        elif candidate.attempts >= attempts_max:
            lost = f"given up after {candidate.attempts} attempts: the worker was lost each time"
            ending = {"state": State.FAILED, "error": candidate.error or lost}
        if ending is not None:
            free = {"claim": None, "lease_until": None, "finished_at": now, "eta_s": None}
            db.execute(update(job).where(job.c.id == job_id).values(**free, **ending))
            continue
        token = uuid4()
        row = db.execute(
            update(job)
            .where(job.c.id == job_id)
            .values(
                state=State.RUNNING,
                attempts=job.c.attempts + 1,
                claim=token,
                claimed_by=worker,
                lease_until=now + timedelta(seconds=lease_s),
                started_at=now,
                progress_done=0,
                progress_total=0,
                progress_message="starting",
                eta_s=None,
                suspects=func.array_cat(job.c.suspects, job.c.computing)
                if candidate.attempts
                else [],
                computing=[],
            )
            .returning(job)
        ).one()
        return Claim(to_job(row), token)
    return None


def heartbeat(db: Connection, claim: Claim, now: datetime, lease_s: float) -> bool:
    """Whether the job was asked to stop; the lease has moved on. Raises LeaseLost."""
    cancel_requested = db.scalar(
        update(job)
        .where(job.c.id == claim.job.id, job.c.claim == claim.token)
        .values(lease_until=now + timedelta(seconds=lease_s))
        .returning(job.c.cancel_requested)
    )
    if cancel_requested is None:
        raise LeaseLost
    return bool(cancel_requested)


def report(db: Connection, claim: Claim, progress: Progress) -> None:
    """The job shows this progress. Raises LeaseLost."""
    update_claimed(
        db,
        claim,
        progress_done=progress.done,
        progress_total=progress.total,
        progress_message=progress.message,
        eta_s=progress.eta_s,
    )


def succeed(
    db: Connection,
    claim: Claim,
    now: datetime,
    *,
    chunks: int,
    summary: dict[str, Any],
    written_series: list[str],
    warning: str | None,
) -> None:
    """The job has its result: parts numbered below `chunks`, no leftovers beyond; it counts.

    `warning` says what did not work although the result stands. Raises LeaseLost.
    """
    _end(
        db,
        claim,
        state=State.SUCCEEDED,
        finished_at=now,
        summary=summary,
        written_series=written_series,
        error=warning,
        progress_done=func.greatest(job.c.progress_total, 1),
        progress_total=func.greatest(job.c.progress_total, 1),
        progress_message="done",
        eta_s=None,
    )
    for table in (chunk, series):
        db.execute(delete(table).where(table.c.job_id == claim.job.id, table.c.chunk_no >= chunks))
    count_run(db, claim.job.tenant, now)


def fail(db: Connection, claim: Claim, now: datetime, error: str) -> None:
    """The job ended without a result, and another attempt would end the same way."""
    _end(db, claim, state=State.FAILED, finished_at=now, error=error, eta_s=None)


def cancelled(db: Connection, claim: Claim, now: datetime) -> None:
    """The job stopped because somebody asked for it."""
    _end(
        db, claim, state=State.CANCELLED, finished_at=now, eta_s=None, progress_message="cancelled"
    )


def try_again(
    db: Connection,
    claim: Claim,
    now: datetime,
    error: str,
    attempts_max: int,
    *,
    is_lost: bool = False,
) -> None:
    """The job is queued for later, or failed when it had its attempts; the trouble is on record.

    is_lost: its process ended, perhaps because of a chunk that was being computed.
    """
    if claim.job.attempts >= attempts_max:
        fail(db, claim, now, f"given up after {claim.job.attempts} attempts: {error}")
        return
    wait_s = back_off_s(claim.job.attempts)
    suspicion = {"computing": job.c.computing} if is_lost else {}
    _end(
        db,
        claim,
        state=State.QUEUED,
        run_after=now + timedelta(seconds=wait_s),
        error=error,
        eta_s=None,
        progress_message=f"waiting {wait_s:g} s before attempt {claim.job.attempts + 1}",
        **suspicion,
    )


def give_back(db: Connection, claim: Claim, now: datetime) -> None:
    """The job is as if never claimed: its worker stops in an orderly way."""
    _end(
        db,
        claim,
        state=State.QUEUED,
        attempts=job.c.attempts - 1,
        run_after=now,
        eta_s=None,
        progress_message="",
    )
    notify(db)


def sweep(db: Connection, now: datetime, retention_days: int) -> int:
    """How many old finished jobs are gone now, with their results; a bounded number a call."""
    old = (
        select(job.c.id)
        .where(job.c.finished_at < now - timedelta(days=retention_days))
        .limit(SWEEP_ROWS_MAX)
        .with_for_update(skip_locked=True)
    )
    return db.execute(delete(job).where(job.c.id.in_(old.scalar_subquery()))).rowcount


def write(
    engine: Engine, act: Callable[[Connection, datetime], object], event: str, **facts: object
) -> None:
    """Written, unless it is somebody else's by now, or the database is away: see `event`.

    Then a lease runs out, and another worker decides.
    """
    try:
        with transaction(engine) as db:
            act(db, database_clock(db))
    except (LeaseLost, DatabaseUnavailable) as error:
        log.warning(event, reason=repr(error), **facts)


def hold(db: Connection, claim: Claim) -> None:
    """The job is ours until this transaction ends. Raises LeaseLost."""
    mine = select(job.c.id).where(job.c.id == claim.job.id, job.c.claim == claim.token)
    if db.scalar(mine.with_for_update()) is None:
        raise LeaseLost


def update_claimed(db: Connection, claim: Claim, /, **values: object) -> None:
    """The job's row has these values. Raises LeaseLost."""
    mine = update(job).where(job.c.id == claim.job.id, job.c.claim == claim.token)
    if db.execute(mine.values(**values)).rowcount != 1:
        raise LeaseLost


def _end(db: Connection, claim: Claim, /, **values: object) -> None:
    free: dict[str, object] = {"claim": None, "lease_until": None, "claimed_by": None}
    update_claimed(db, claim, **free | {"computing": []} | values)
