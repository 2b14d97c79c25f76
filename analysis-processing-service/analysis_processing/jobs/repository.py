"""A tenant's own view of its jobs: submit, read, cancel, retry, result, each one transaction.

Every statement carries the tenant; a job of somebody else is as absent as one that never was.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from analysis_processing.analyses import find
from analysis_processing.errors import JobNotFound, TooManyJobs, WrongState
from analysis_processing.jobs.tables import chunk, job, to_job
from analysis_processing.model import Job, Request, State

CHANNEL = "analysis_job"
UNFINISHED = (State.QUEUED, State.RUNNING)


def job_id(tenant: UUID, request: Request, code_version: str) -> UUID:
    """The same question of the same tenant to the same code has the same id, for ever.

    A version-8 UUID of SHA-256 over the canonical JSON of all of it.
    """
    fields = [
        str(tenant),
        request.kind,
        request.params,
        request.query,
        request.start_ms,
        request.end_ms,
        request.step_ms,
        code_version,
    ]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    digest = bytearray(hashlib.sha256(canonical).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


def submit(
    db: Connection,
    tenant: UUID,
    request: Request,
    created_by: str,
    *,
    now: datetime,
    unfinished_max: int,
) -> tuple[Job, bool]:
    """The job that answers `request`, and whether it is new; workers are told of a new one.

    Raises TooManyJobs before a tenant's queue grows beyond `unfinished_max`.
    """
    version = find(request.kind).version
    identity = job_id(tenant, request, version)
    existing = _find(db, tenant, identity)
    if existing is not None:
        return existing, False
    db.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('submit:' || :tenant, 0))"),
        {"tenant": str(tenant)},
    )
    unfinished = db.scalar(
        select(func.count()).where(job.c.tenant_id == tenant, job.c.state.in_(UNFINISHED))
    )
    made = (
        insert(job)
        .values(
            id=identity,
            tenant_id=tenant,
            kind=request.kind,
            query=request.query,
            start_ms=request.start_ms,
            end_ms=request.end_ms,
            step_ms=request.step_ms,
            params=request.params,
            code_version=version,
            created_by=created_by,
            created_at=now,
            run_after=now,
        )
        .on_conflict_do_nothing()
    )
    is_new = db.execute(made).rowcount == 1
    if is_new and (unfinished or 0) >= unfinished_max:
        raise TooManyJobs(unfinished=unfinished, limit=unfinished_max, retry_after_s=10)
    if is_new:
        notify(db)
    return get(db, tenant, identity), is_new


def notify(db: Connection) -> None:
    """Idle workers look for work as soon as this transaction commits."""
    db.execute(text(f"NOTIFY {CHANNEL}"))


def get(db: Connection, tenant: UUID, identity: UUID) -> Job:
    """The tenant's job of that id; raises JobNotFound."""
    stored = _find(db, tenant, identity)
    if stored is None:
        raise JobNotFound(id=identity)
    return stored


def newest(db: Connection, tenant: UUID, limit: int) -> list[Job]:
    """The tenant's latest jobs, newest first."""
    rows = db.execute(
        select(job)
        .where(job.c.tenant_id == tenant)
        .order_by(job.c.created_at.desc(), job.c.id)
        .limit(limit)
    )
    return [to_job(row) for row in rows]


def cancel(db: Connection, tenant: UUID, identity: UUID, now: datetime) -> Job:
    """A queued job is cancelled, a running one is told to stop; cancelling twice is no error."""
    stored = _lock(db, tenant, identity)
    match stored.state:
        case State.QUEUED:
            changed = {"state": State.CANCELLED, "finished_at": now, "eta_s": None}
        case State.RUNNING:
            changed = {"cancel_requested": True}
        case State.CANCELLED:
            return stored
        case _:
            raise WrongState(state=stored.state, wanted="queued or running")
    db.execute(update(job).where(job.c.tenant_id == tenant, job.c.id == identity).values(**changed))
    notify(db)
    return get(db, tenant, identity)


def retry(db: Connection, tenant: UUID, identity: UUID, now: datetime) -> Job:
    """A failed or cancelled job is queued afresh, its attempts and leftovers forgotten."""
    stored = _lock(db, tenant, identity)
    if stored.state not in (State.FAILED, State.CANCELLED):
        raise WrongState(state=stored.state, wanted="failed or cancelled")
    db.execute(delete(chunk).where(chunk.c.tenant_id == tenant, chunk.c.job_id == identity))
    db.execute(
        update(job)
        .where(job.c.tenant_id == tenant, job.c.id == identity)
        .values(
            state=State.QUEUED,
            attempts=0,
            error=None,
            cancel_requested=False,
            progress_done=0,
            progress_total=0,
            progress_message="",
            eta_s=None,
            run_after=now,
            started_at=None,
            finished_at=None,
            written_series=[],
            summary={},
        )
    )
    notify(db)
    return get(db, tenant, identity)


def finished(db: Connection, tenant: UUID, identity: UUID) -> Job:
    """The tenant's job when it has a result; raises WrongState while it has none."""
    stored = get(db, tenant, identity)
    if stored.state is not State.SUCCEEDED:
        raise WrongState(state=stored.state, wanted="succeeded")
    return stored


def payloads(engine: Engine, tenant: UUID, identity: UUID) -> Iterator[bytes]:
    """The result's chunks in order, one in memory at a time, all of one snapshot."""
    mine = (chunk.c.tenant_id == tenant, chunk.c.job_id == identity)
    isolated = engine.execution_options(isolation_level="REPEATABLE READ")
    with isolated.connect() as db:
        numbers: Sequence[int] = db.scalars(
            select(chunk.c.chunk_no).where(*mine).order_by(chunk.c.chunk_no)
        ).all()
        for number in numbers:
            yield db.scalar(select(chunk.c.payload).where(*mine, chunk.c.chunk_no == number))  # type: ignore[misc]


def _find(db: Connection, tenant: UUID, identity: UUID) -> Job | None:
    row = db.execute(select(job).where(job.c.tenant_id == tenant, job.c.id == identity)).first()
    return None if row is None else to_job(row)


def _lock(db: Connection, tenant: UUID, identity: UUID) -> Job:
    row = db.execute(
        select(job).where(job.c.tenant_id == tenant, job.c.id == identity).with_for_update()
    ).first()
    if row is None:
        raise JobNotFound(id=identity)
    return to_job(row)
