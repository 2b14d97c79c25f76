"""The job routes of docs/contracts.md §5. Plain `def`: they run in the thread pool, by Postgres."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis_processing.analyses import resolved_params
from analysis_processing.api.deps import Analyst, PostedJson, Reader, Services, ServicesDep
from analysis_processing.errors import InvalidJob, JobNotFound, TooManySteps
from analysis_processing.jobs import repository, results
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Job, Request

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
SUBMITTED = Counter(
    "cloudopshub_analysis_jobs_submitted_total", "Jobs asked for.", ["kind", "outcome"]
)
FUTURE_MS_MAX = 300_000
EPOCH_MS_MAX = 253_402_300_799_000  # the year 9999
STEPS_MIN = 2


class Submission(BaseModel):
    """The body of a submit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str = Field(max_length=40)
    query: str = Field(min_length=1, max_length=16_384)
    start_ms: int = Field(ge=0, le=EPOCH_MS_MAX)
    end_ms: int = Field(ge=0, le=EPOCH_MS_MAX)
    step_ms: int = Field(ge=1_000, le=86_400_000)
    params: dict[str, Any] = Field(default_factory=dict)


def submission(posted: PostedJson) -> Submission:
    """The body of a submit; raises RequestValidationError."""
    try:
        return Submission.model_validate(posted)
    except ValidationError as exc:
        faults = [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(faults) from exc


SUBMIT_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Submission.model_json_schema()}},
    }
}


def job_id(text: str) -> UUID:
    """The id in the path; what is no UUID names no job."""
    try:
        return UUID(text)
    except ValueError:
        raise JobNotFound(id=text[:64]) from None


def checked(asked: Submission, now: datetime, steps_max: int) -> Request:
    """The request in its one spelling, on the grid of its step; raises InvalidJob, TooManySteps.

    Both ends move down to a multiple of the step: results then line up with phases and with each
    other, and two clicks a second apart ask the same question.
    """
    params = resolved_params(asked.kind, asked.params, asked.step_ms)
    query = asked.query.strip()
    if not query or "\x00" in query:
        raise InvalidJob(detail="query is empty or holds a NUL")
    if asked.end_ms > int(now.timestamp() * 1000) + FUTURE_MS_MAX:
        raise InvalidJob(detail="end_ms lies in the future", end_ms=asked.end_ms)
    start_ms = asked.start_ms - asked.start_ms % asked.step_ms
    end_ms = asked.end_ms - asked.end_ms % asked.step_ms
    request = Request(asked.kind, query, start_ms, end_ms, asked.step_ms, params)
    if request.steps < STEPS_MIN:
        raise InvalidJob(detail=f"the range must span at least {STEPS_MIN} steps")
    if request.steps > steps_max:
        raise TooManySteps(steps=request.steps, limit=steps_max)
    return request


@router.post("", status_code=202, openapi_extra=SUBMIT_DOCUMENT)
def submit(
    asked: Annotated[Submission, Depends(submission)],
    caller: Analyst,
    held: ServicesDep,
    answer: Response,
) -> dict[str, Any]:
    """202 and a new job, or 200 and the job that asks the same already."""
    with transaction(held.engine) as db:
        now = held.now(db)
        request = checked(asked, now, held.settings.steps_max)
        job, is_new = repository.submit(
            db,
            caller.tenant,
            request,
            caller.subject,
            now=now,
            unfinished_max=held.settings.unfinished_jobs_max,
        )
    SUBMITTED.labels(job.request.kind, "new" if is_new else "known").inc()
    answer.status_code = 202 if is_new else 200
    return shown(job)


@router.get("")
def list_jobs(
    caller: Reader, held: ServicesDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> dict[str, Any]:
    """The newest jobs first."""
    with transaction(held.engine) as db:
        return {"jobs": [shown(job) for job in repository.newest(db, caller.tenant, limit)]}


@router.get("/{id}")
def read_job(
    text: Annotated[str, Path(alias="id")], caller: Reader, held: ServicesDep
) -> dict[str, Any]:
    """One job."""
    with transaction(held.engine) as db:
        return shown(repository.get(db, caller.tenant, job_id(text)))


@router.post("/{id}/cancel")
def cancel_job(
    text: Annotated[str, Path(alias="id")], caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The job is cancelled, or will be within a second or so when it runs."""
    with transaction(held.engine) as db:
        return shown(repository.cancel(db, caller.tenant, job_id(text), held.now(db)))


@router.post("/{id}/retry")
def retry_job(
    text: Annotated[str, Path(alias="id")], caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The failed or cancelled job is queued again."""
    with transaction(held.engine) as db:
        return shown(repository.retry(db, caller.tenant, job_id(text), held.now(db)))


@router.get("/{id}/result")
def read_result(
    text: Annotated[str, Path(alias="id")], caller: Reader, held: ServicesDep
) -> StreamingResponse:
    """The result, streamed a series at a time; 409 while there is none."""
    with transaction(held.engine) as db:
        job = repository.finished(db, caller.tenant, job_id(text))
    return StreamingResponse(assembled(held, job), media_type="application/json")


def assembled(held: Services, job: Job) -> Iterator[str]:
    """The whole result as JSON, one series of it in memory."""
    yield '{"series":['
    comma = ""
    for payload in repository.payloads(held.engine, job.tenant, job.id):
        for series in results.as_json(payload):
            yield comma + series
            comma = ","
    tail = json.dumps({"written_series": job.written_series, "summary": job.summary})
    yield "]," + tail[1:]


def shown(job: Job) -> dict[str, Any]:
    """The job of docs/contracts.md §5."""
    request, progress = job.request, job.progress
    return {
        "id": str(job.id),
        "kind": request.kind,
        "query": request.query,
        "start_ms": request.start_ms,
        "end_ms": request.end_ms,
        "step_ms": request.step_ms,
        "params": request.params,
        "state": job.state,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "message": "stopping"
            if job.cancel_requested and job.state == "running"
            else progress.message,
            "eta_s": progress.eta_s,
        },
        "attempts": job.attempts,
        "error": job.error,
        "created_at": instant(job.created_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "created_by": job.created_by,
    }


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
