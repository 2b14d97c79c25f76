"""A tenant's own view of its jobs: submit, list, cancel, retry, delete, and what came of them.

Every statement carries the tenant; a job of somebody else is as absent as one that never was.
A result is read in short transactions, each of which checks that it is still the same run's: a slow
caller holds no connection, and two runs are never mixed.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from analysis_processing.analyses import find
from analysis_processing.errors import JobNotFound, ResultChanged, TooManyJobs, WrongState
from analysis_processing.jobs.tables import chunk, job, series, to_job
from analysis_processing.model import Job, Labels, Request, State

CHANNEL = "analysis_job"
HEAD_BYTES = 16_384
"""What stands before the batches of a chunk, see results.py, is at most so long."""
UNFINISHED = (State.QUEUED, State.RUNNING)
SETTLED = timedelta(minutes=5)
"""So long after the end of a range its last samples may still arrive."""
AFRESH: dict[str, Any] = {
    "state": State.QUEUED,
    "attempts": 0,
    "error": None,
    "cancel_requested": False,
    "progress_done": 0,
    "progress_total": 0,
    "progress_message": "",
    "eta_s": None,
    "started_at": None,
    "finished_at": None,
    "summary": {},
    "computing": [],
    "suspects": [],
}
"""What a job forgets when it is queued again. Its chunks stay, for the worker to compare digests,
and with them the names of the series that they wrote."""


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
    force: bool = False,
) -> tuple[Job, bool]:
    """The job that answers `request`, and whether it was queued just now; workers are told then.

    A job that has no answer, or no lasting one, is queued again, see `is_answer`; force: any that
    has ended, from its first chunk. Raises TooManyJobs before a tenant's queue grows beyond
    `unfinished_max`.
    """
    version = find(request.kind).version
    identity = job_id(tenant, request, version)
    existing = _find(db, tenant, identity)
    if existing is not None and is_answer(existing, now, force=force):
        return existing, False
    unfinished = _lock_queue(db, tenant)
    fresh = {"created_by": created_by, "created_at": now, "run_after": now, **AFRESH}
    mine = {"id": identity, "tenant_id": tenant, "code_version": version}
    row = insert(job).values(**mine, **asdict(request), **fresh)
    ended = job.c.state.not_in(UNFINISHED)
    changed = fresh | ({"written_series": []} if force else {})
    queued = row.on_conflict_do_update(index_elements=["id"], set_=changed, where=ended)
    existing = _find(db, tenant, identity)  # another submit may have been first
    if existing is not None and is_answer(existing, now, force=force):
        return existing, False
    is_new = db.execute(queued).rowcount == 1
    if is_new and unfinished >= unfinished_max:
        raise TooManyJobs(unfinished=unfinished, limit=unfinished_max, retry_after_s=10)
    for table in (chunk, series) if is_new and force else ():
        db.execute(delete(table).where(table.c.tenant_id == tenant, table.c.job_id == identity))
    if is_new:
        notify(db)
    return get(db, tenant, identity), is_new


def is_answer(stored: Job, now: datetime, *, force: bool) -> bool:
    """Whether asking again is answered by this job as it stands.

    It is not when the job failed or was cancelled, nor when samples of its range may have arrived
    since it ran. Before the range has settled an answer is good enough, unless forced.
    """
    if stored.state in UNFINISHED:
        return True
    if force or stored.state is not State.SUCCEEDED or stored.started_at is None:
        return False
    settled = datetime.fromtimestamp(stored.request.end_ms / 1000, now.tzinfo) + SETTLED
    return not stored.started_at < settled <= now


def notify(db: Connection) -> None:
    """Idle workers look for work as soon as this transaction commits."""
    db.execute(text(f"NOTIFY {CHANNEL}"))


def get(db: Connection, tenant: UUID, identity: UUID) -> Job:
    """The tenant's job of that id; raises JobNotFound."""
    stored = _find(db, tenant, identity)
    if stored is None:
        raise JobNotFound(id=identity)
    return stored


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs to list; query: any part of it; since, until: when it was asked, both included."""

    kinds: Sequence[str] = ()
    states: Sequence[State] = ()
    query: str = ""
    since: datetime | None = None
    until: datetime | None = None


def newest(
    db: Connection,
    tenant: UUID,
    limit: int,
    wanted: Filter = Filter(),
    after: tuple[datetime, UUID] | None = None,
) -> list[Job]:
    """The tenant's latest jobs, newest first; after: those behind the job of this time and id."""
    clauses: list[ColumnElement[bool]] = [job.c.tenant_id == tenant]
    if wanted.kinds:
        clauses.append(job.c.kind.in_(wanted.kinds))
    if wanted.states:
        clauses.append(job.c.state.in_(wanted.states))
    if wanted.query:
        clauses.append(job.c.query.icontains(wanted.query, autoescape=True))
    if wanted.since is not None:
        clauses.append(job.c.created_at >= wanted.since)
    if wanted.until is not None:
        clauses.append(job.c.created_at <= wanted.until)
    if after is not None:
        clauses.append(tuple_(job.c.created_at, job.c.id) < after)
    order = (job.c.created_at.desc(), job.c.id.desc())
    rows = db.execute(select(job).where(*clauses).order_by(*order).limit(limit))
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


def retry(
    db: Connection, tenant: UUID, identity: UUID, now: datetime, *, unfinished_max: int
) -> Job:
    """A failed or cancelled job is queued afresh; raises TooManyJobs as `submit` does."""
    unfinished = _lock_queue(db, tenant)
    stored = _lock(db, tenant, identity)
    if stored.state not in (State.FAILED, State.CANCELLED):
        raise WrongState(state=stored.state, wanted="failed or cancelled")
    if unfinished >= unfinished_max:
        raise TooManyJobs(unfinished=unfinished, limit=unfinished_max, retry_after_s=10)
    mine = update(job).where(job.c.tenant_id == tenant, job.c.id == identity)
    db.execute(mine.values(**AFRESH, run_after=now))
    notify(db)
    return get(db, tenant, identity)


def remove(db: Connection, tenant: UUID, identity: UUID) -> None:
    """The job that has ended is gone, with its result."""
    stored = _lock(db, tenant, identity)
    if stored.state in UNFINISHED:
        raise WrongState(state=stored.state, wanted="succeeded, failed or cancelled")
    db.execute(delete(job).where(job.c.tenant_id == tenant, job.c.id == identity))


def finished(db: Connection, tenant: UUID, identity: UUID) -> Job:
    """The tenant's job when it has a result; raises WrongState while it has none."""
    stored = get(db, tenant, identity)
    if stored.state is not State.SUCCEEDED:
        raise WrongState(state=stored.state, wanted="succeeded")
    return stored


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series of a result; labels: all equal, an empty value meaning that there is none."""

    labels: Labels = field(default_factory=dict)
    with_findings: bool = False

    def clauses(self) -> list[ColumnElement[bool]]:
        """As conditions on analysis.series."""
        equal = [
            func.coalesce(series.c.labels.op("->>")(name), "") == value
            for name, value in self.labels.items()
        ]
        return [*equal, *([series.c.findings > 0] if self.with_findings else [])]


Place = tuple[float, int, int]
"""Where a series stands in the ranking: its score, chunk and row."""


def ranked(
    db: Connection, stored: Job, selection: Selection, limit: int, after: Place | None = None
) -> list[dict[str, Any]]:
    """Rows of analysis.series by score, largest first, then in the order of the query."""
    rows = _ranking(stored, selection)
    if after is not None:
        score, number, row = after
        behind = tuple_(series.c.chunk_no, series.c.row_no) > (number, row)
        rows = rows.where(or_(series.c.score < score, and_(series.c.score == score, behind)))
    return [dict(row._mapping) for row in db.execute(rows.limit(limit))]  # noqa: SLF001  documented


def chosen(
    db: Connection, stored: Job, selection: Selection, top: int | None
) -> dict[int, list[int]]:
    """The rows of each chunk, ascending, that are selected; top: the largest scores of them."""
    best = _ranking(stored, selection).limit(top)
    of = best.with_only_columns(series.c.chunk_no, series.c.row_no).subquery().c
    rows = func.array_agg(aggregate_order_by(of.row_no, of.row_no))
    grouped = select(of.chunk_no, rows).group_by(of.chunk_no)
    return {row[0]: row[1] for row in db.execute(grouped)}


def _ranking(stored: Job, selection: Selection) -> Select[Any]:
    order = (series.c.score.desc(), series.c.chunk_no, series.c.row_no)
    clauses = [*_of_run(series, stored), *selection.clauses()]
    return select(series).where(*clauses).order_by(*order)


def label_names(db: Connection, stored: Job) -> list[str]:
    """The names of all labels in the result, sorted."""
    name = func.jsonb_object_keys(series.c.labels)
    return sorted(db.scalars(select(name).where(*_of_run(series, stored)).distinct()))


def heads(db: Connection, stored: Job, numbers: Collection[int] | None = None) -> dict[int, bytes]:
    """The first HEAD_BYTES of these chunks, or of all, in order."""
    clauses = _of_run(chunk, stored)
    if numbers is not None:
        clauses.append(chunk.c.chunk_no.in_(numbers))
    beginning = func.substring(chunk.c.payload, 1, HEAD_BYTES)
    rows = db.execute(
        select(chunk.c.chunk_no, beginning).where(*clauses).order_by(chunk.c.chunk_no)
    )
    return {number: bytes(head) for number, head in rows}


def payload(
    db: Connection, stored: Job, number: int, first: int = 0, length: int | None = None
) -> bytes:
    """A chunk's payload, or that part of it; raises ResultChanged when there is none any more."""
    part = chunk.c.payload if length is None else func.substring(chunk.c.payload, first + 1, length)
    body = db.scalar(select(part).where(*_of_run(chunk, stored), chunk.c.chunk_no == number))
    if body is None:
        raise ResultChanged(id=stored.id)
    return bytes(body)


def _of_run(table: Table, stored: Job) -> list[ColumnElement[bool]]:
    run = exists().where(
        job.c.id == stored.id,
        job.c.state == State.SUCCEEDED,
        job.c.finished_at == stored.finished_at,
    )
    return [table.c.job_id == stored.id, table.c.tenant_id == stored.tenant, run]


def _find(db: Connection, tenant: UUID, identity: UUID) -> Job | None:
    row = db.execute(select(job).where(job.c.tenant_id == tenant, job.c.id == identity)).first()
    return None if row is None else to_job(row)


def _lock_queue(db: Connection, tenant: UUID) -> int:
    """The tenant's unfinished jobs; until this transaction ends nobody else adds one."""
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended('submit:' || :tenant, 0))")
    db.execute(lock, {"tenant": str(tenant)})
    mine = (job.c.tenant_id == tenant, job.c.state.in_(UNFINISHED))
    return db.scalar(select(func.count()).where(*mine)) or 0


def _lock(db: Connection, tenant: UUID, identity: UUID) -> Job:
    row = db.execute(
        select(job).where(job.c.tenant_id == tenant, job.c.id == identity).with_for_update()
    ).first()
    if row is None:
        raise JobNotFound(id=identity)
    return to_job(row)
