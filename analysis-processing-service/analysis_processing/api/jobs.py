"""The job routes of docs/contracts.md §5. Plain `def`: they run in the thread pool, by Postgres."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import anyio
import anyio.from_thread
import anyio.to_thread
import structlog
from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.parameters import EPOCH_MS_MAX
from analysis_processing.api.deps import (
    Analyst,
    PostedJson,
    Reader,
    Services,
    ServicesDep,
    cursor_of,
    document,
    identity_of,
    instant,
    place_of,
    validated,
)
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.errors import (
    InvalidJob,
    InvalidPage,
    JobNotFound,
    Refused,
    TooManySteps,
    TooManyStreams,
)
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Job, Request, State

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
log = structlog.get_logger()
SUBMITTED = Counter(
    "cloudopshub_analysis_jobs_submitted_total", "Jobs asked for.", ["kind", "outcome"]
)
FUTURE_MS_MAX = 300_000
STEPS_MIN = 2
QUERY_CHECK_S = 2.0
IN_LISTS: Final = ("series", "judged", "points", "findings", "notes", "sentence")
"""What a list shows of summaries; the tables of a kind come with the job alone."""
STREAMS_MAX = 64
POLL_S = 1.0
POLLS_MAX = 600
"""A stream ends then, and whoever watches is authenticated anew."""
POLLS_SILENT = 15


class Submission(BaseModel):
    """The body of a submit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str = Field(max_length=40)
    query: str = Field(min_length=1, max_length=16_384)
    start_ms: int = Field(ge=0, le=EPOCH_MS_MAX)
    end_ms: int = Field(ge=0, le=EPOCH_MS_MAX)
    step_ms: int = Field(ge=1_000, le=86_400_000)
    params: dict[str, Any] = Field(default_factory=dict)
    force: bool = False


def submission(posted: PostedJson) -> Submission:
    """The body of a submit; raises RequestValidationError."""
    return validated(Submission, posted)


def job_id(text: Annotated[str, Path(alias="id")], _: Reader) -> UUID:
    """The id in the path; what is no UUID names no job."""
    return identity_of(text, JobNotFound)


JobId = Annotated[UUID, Depends(job_id)]


def checked(submitted: Submission, now: datetime, steps_max: int) -> Request:
    """The request in its one spelling, on the grid of its step; raises InvalidJob, TooManySteps.

    Both ends move down to a multiple of the step: results then line up with phases and with each
    other, and two clicks a second apart ask the same question.
    """
    params = resolved_params(submitted.kind, submitted.params, submitted.step_ms)
    query = submitted.query.strip()
    if not query or "\x00" in query:
        raise InvalidJob(detail="query is empty or holds a NUL")
    if submitted.end_ms > int(now.timestamp() * 1000) + FUTURE_MS_MAX:
        raise InvalidJob(detail="end_ms lies in the future", end_ms=submitted.end_ms)
    start_ms = submitted.start_ms - submitted.start_ms % submitted.step_ms
    end_ms = submitted.end_ms - submitted.end_ms % submitted.step_ms
    request = Request(submitted.kind, query, start_ms, end_ms, submitted.step_ms, params)
    if request.steps < STEPS_MIN:
        raise InvalidJob(detail=f"the range must span at least {STEPS_MIN} steps")
    if request.steps > steps_max:
        raise TooManySteps(steps=request.steps, limit=steps_max)
    return request


async def check_query(services: Services, tenant: UUID, query: str) -> None:
    """Raises InvalidJob with data-api-service's words, and their position, when it cannot parse it.

    While that service is away every query is accepted: the job will tell.
    """
    with anyio.move_on_after(QUERY_CHECK_S):
        try:
            await services.data_api(tenant).post("/api/v1/format_query", data={"query": query})
        except ServiceError as error:
            if isinstance(error, Refused) and error.facts.get("status") == 400:
                raise InvalidJob(detail=f"query: {error.facts['detail']}") from error
            log.warning("query_not_checked", reason=str(error))


@router.post("", status_code=202, openapi_extra=document(Submission))
def submit(
    submitted: Annotated[Submission, Depends(submission)],
    caller: Analyst,
    services: ServicesDep,
    answer: Response,
) -> dict[str, Any]:
    """202 and a job that was queued just now, or 200 and the job that answers this already."""
    with transaction(services.engine) as db:
        request = checked(submitted, services.now(db), services.settings.steps_max)
    anyio.from_thread.run(check_query, services, caller.tenant, request.query)
    with transaction(services.engine) as db:
        job, is_new = repository.submit(
            db,
            caller.tenant,
            request,
            caller.subject,
            now=services.now(db),
            unfinished_max=services.settings.unfinished_jobs_max,
            force=submitted.force,
        )
    SUBMITTED.labels(job.request.kind, "new" if is_new else "known").inc()
    answer.status_code = 202 if is_new else 200
    return shown(job)


def wanted_jobs(
    kind: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    state: Annotated[list[State], Query()] = [],  # noqa: B006
    q: Annotated[str, Query(max_length=200, description="any part of the query")] = "",
    since: Annotated[int | None, Query(alias="from", ge=0, le=EPOCH_MS_MAX)] = None,
    until: Annotated[int | None, Query(alias="to", ge=0, le=EPOCH_MS_MAX)] = None,
) -> repository.Filter:
    """The filters of a list; from, to: when the job was asked for, in ms since the epoch."""
    if "\x00" in q + "".join(kind):
        raise InvalidPage(detail="a filter holds a NUL")
    since_at, until_at = (
        None if ms is None else datetime.fromtimestamp(ms / 1000, UTC) for ms in (since, until)
    )
    return repository.Filter(kind, state, q, since_at, until_at)


@router.get("")
def list_jobs(
    caller: Reader,
    services: ServicesDep,
    wanted: Annotated[repository.Filter, Depends(wanted_jobs)],
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """The newest jobs first; `next` is the cursor of the next page."""
    after = None
    if cursor is not None:
        try:
            at, identity = place_of(cursor, str, str)
            after = datetime.fromisoformat(at), UUID(identity)
        except ValueError as exc:
            raise InvalidPage(detail="cursor is not one that this route gave") from exc
    with transaction(services.engine) as db:
        jobs = repository.newest(db, caller.tenant, limit + 1, wanted, after)
    page = [shown(job) for job in jobs[:limit]]
    for row in page:
        row["summary"] = {name: row["summary"][name] for name in IN_LISTS if name in row["summary"]}
    last = jobs[limit - 1] if len(jobs) > limit else None
    following = last and cursor_of(last.created_at.isoformat(), str(last.id))
    return {"jobs": page, "next": following}


@router.get("/{id}")  # noqa: FAST003  job_id reads it
def read_job(identity: JobId, caller: Reader, services: ServicesDep) -> dict[str, Any]:
    """One job."""
    with transaction(services.engine) as db:
        return shown(repository.get(db, caller.tenant, identity))


@router.delete("/{id}", status_code=204)  # noqa: FAST003  job_id reads it
def delete_job(identity: JobId, caller: Analyst, services: ServicesDep) -> None:
    """The job that has ended is gone, with its result; 409 for one that has not."""
    with transaction(services.engine) as db:
        repository.remove(db, caller.tenant, identity)


@router.post("/{id}/cancel")  # noqa: FAST003  job_id reads it
def cancel_job(identity: JobId, caller: Analyst, services: ServicesDep) -> dict[str, Any]:
    """The job is cancelled, or will be within a second or so when it runs."""
    with transaction(services.engine) as db:
        return shown(repository.cancel(db, caller.tenant, identity, services.now(db)))


@router.post("/{id}/retry")  # noqa: FAST003  job_id reads it
def retry_job(identity: JobId, caller: Analyst, services: ServicesDep) -> dict[str, Any]:
    """The failed or cancelled job is queued again."""
    most = services.settings.unfinished_jobs_max
    with transaction(services.engine) as db:
        now = services.now(db)
        job = repository.retry(db, caller.tenant, identity, now, unfinished_max=most)
        return shown(job)


@router.get("/{id}/events", response_class=StreamingResponse)  # noqa: FAST003  job_id reads it
def watch_job(identity: JobId, caller: Reader, services: ServicesDep) -> StreamingResponse:
    """The job as a server-sent event `job` whenever it has changed, until it has ended."""

    def read() -> Job:
        with transaction(services.engine) as db:
            return repository.get(db, caller.tenant, identity)

    read()
    if services.streams.locked():
        raise TooManyStreams(limit=STREAMS_MAX, retry_after_s=10)
    return StreamingResponse(
        changes(services, read, anyio.sleep),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def changes(
    services: Services, read: Callable[[], Job], pause: Callable[[float], Awaitable[None]]
) -> AsyncIterator[str]:
    """Server-sent events of a job, looked at each POLL_S; a comment when nothing changes for long.

    Ends with the job, with the process, or when the job cannot be read; a browser comes back then.
    """
    latest, silent = "", 0
    async with services.streams:
        for _ in range(POLLS_MAX):
            try:
                job = await anyio.to_thread.run_sync(read)
            except ServiceError:
                return
            text = json.dumps(shown(job))
            silent = silent + 1 if text == latest else 0
            if silent == 0:
                latest = text
                yield f"event: job\ndata: {text}\n\n"
            elif silent % POLLS_SILENT == 0:
                yield ": nothing new\n\n"
            if job.finished_at is not None or services.drain.draining:
                return
            await pause(POLL_S)


def shown(job: Job) -> dict[str, Any]:
    """The job of docs/contracts.md §5."""
    stopping = {"message": "stopping"} if job.cancel_requested and job.state == "running" else {}
    has_notes = bool(job.error or job.summary.get("notes"))
    outcome = "completed with notes" if has_notes else "completed"
    return {
        "id": str(job.id),
        **asdict(job.request),
        "state": job.state,
        "outcome": outcome if job.state is State.SUCCEEDED else None,
        "judged": job.summary.get("judged"),
        "of": job.summary.get("series"),
        "summary": job.summary,
        "progress": asdict(job.progress) | stopping,
        "attempts": job.attempts,
        "error": job.error,
        "created_at": instant(job.created_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "created_by": job.created_by,
    }
