"""Report routes: what is made when for the caller's organisation, and issues as page and PDF."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from analysis_processing.api.deps import (
    Analyst,
    PostedJson,
    Reader,
    ServicesDep,
    instant,
    validated,
)
from analysis_processing.api.jobs import JobId, shown
from analysis_processing.errors import JobNotFound
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import transaction
from analysis_processing.reports import document, store
from analysis_processing.reports.issues import Issuer
from analysis_processing.reports.store import Report

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])
Every = Literal["day", "week", "month"]
MEDIA = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}


class ReportBody(BaseModel):
    """At which hour, UTC, periods end."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hour: int = Field(0, ge=0, le=23)


def wanted_hour(posted: PostedJson) -> int:
    """The hour in the body; raises RequestValidationError."""
    return validated(ReportBody, posted).hour


@router.get("")
def list_reports(caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """The reports that are made, and when next. Their issues are jobs of kind `report`."""
    with transaction(held.engine) as db:
        rows = store.of_tenant(db, caller.tenant)
    reports = [{"every": r.every, "hour": r.hour, "next_at": instant(r.next_at)} for r in rows]
    return {"reports": reports}


@router.put("/{every}", status_code=204)
def schedule_report(
    every: Every, hour: Annotated[int, Depends(wanted_hour)], caller: Analyst, held: ServicesDep
) -> None:
    """An issue is made when each day, week (on Monday) or month has ended at that hour."""
    with transaction(held.engine) as db:
        store.put(db, caller.tenant, every, hour, held.now(db))


@router.delete("/{every}", status_code=204)
def end_report(every: Every, caller: Analyst, held: ServicesDep) -> None:
    """It is made no more; its issues stay as long as jobs do."""
    with transaction(held.engine) as db:
        store.delete(db, caller.tenant, every)


@router.post("/{every}/run", status_code=202)
def run_report(every: Every, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """The job that makes an issue up to now, whether or not the report is made on a schedule."""
    issuer = Issuer(held.engine, held.now, held.data_api, held.settings)
    job = issuer.make(Report(caller.tenant, every, 0, None))
    assert job is not None
    return shown(job)


@router.get("/issues/{id}")  # noqa: FAST003  job_id reads it
def read_issue(
    identity: JobId,
    caller: Reader,
    held: ServicesDep,
    *,
    format: Literal["html", "pdf"] = "html",  # noqa: A002  the contract's word
) -> Response:
    """What the job made, as a page that loads and runs nothing or as a PDF; 409 before it has."""
    with transaction(held.engine) as db:
        issue = repository.finished(db, caller.tenant, identity)
        if issue.request.kind != "report":
            raise JobNotFound(id=issue.id)
        events = document.events(*store.events(db, caller.tenant, issue.request))
    end = datetime.fromtimestamp(issue.request.end_ms / 1000, UTC)
    title = f"{issue.request.params['title']} to {end:%Y-%m-%d %H:%M} UTC"
    content = getattr(document, format)(title, [*issue.summary["sections"], events])
    headers = {
        "Content-Security-Policy": document.CSP,
        "Content-Disposition": f'inline; filename="report-{end:%Y-%m-%d}.{format}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=MEDIA[format], headers=headers)
