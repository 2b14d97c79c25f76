"""Report routes: what is reported to the caller's organisation and when, and the issues made."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from analysis_processing.api.deps import Analyst, PostedJson, Reader, ServicesDep
from analysis_processing.api.jobs import instant
from analysis_processing.api.watch import identity_of, validated
from analysis_processing.errors import ReportNotFound, WrongState
from analysis_processing.jobs import repository
from analysis_processing.jobs.database import transaction
from analysis_processing.model import Job, State
from analysis_processing.reports import document, store
from analysis_processing.reports.issues import Issuer

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])


class ReportBody(BaseModel):
    """A report as its owner writes it: made when a day, week or month has ended at `hour` UTC."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")
    every: Literal["day", "week", "month"]
    hour: int = Field(0, ge=0, le=23)
    enabled: bool = True


DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ReportBody.model_json_schema()}},
    }
}


def wanted_report(posted: PostedJson) -> dict[str, Any]:
    """The body, checked; raises RequestValidationError."""
    return validated(ReportBody, posted).model_dump()


def identity(text: Annotated[str, Path(alias="id")]) -> UUID:
    """The id in the path; raises ReportNotFound."""
    return identity_of(text, ReportNotFound)


Identity = Annotated[UUID, Depends(identity)]
Wanted = Annotated[dict[str, Any], Depends(wanted_report)]


@router.get("")
def list_reports(caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """Every report by name, and how many there may be."""
    with transaction(held.engine) as db:
        rows = store.of_tenant(db, caller.tenant)
    return {"reports": [shown(row) for row in rows], "limits": {"reports_max": store.COUNT_MAX}}


@router.post("", status_code=201, openapi_extra=DOCUMENT)
def make_report(wanted: Wanted, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """A new report, whose first issue is made when its period has ended."""
    with transaction(held.engine) as db:
        by, now = caller.subject, held.now(db)
        return shown(store.put(db, caller.tenant, None, wanted, by=by, now=now))


@router.put("/{id}", openapi_extra=DOCUMENT)  # noqa: FAST003  identity reads it
def change_report(
    identity: Identity, wanted: Wanted, caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The report as it is from now on."""
    with transaction(held.engine) as db:
        by, now = caller.subject, held.now(db)
        return shown(store.put(db, caller.tenant, identity, wanted, by=by, now=now))


@router.delete("/{id}", status_code=204)  # noqa: FAST003  identity reads it
def delete_report(identity: Identity, caller: Analyst, held: ServicesDep) -> None:
    """The report is gone; its issues stay as long as jobs do."""
    with transaction(held.engine) as db:
        store.delete(db, caller.tenant, identity)


@router.post("/{id}/run", status_code=202)  # noqa: FAST003  identity reads it
def run_report(identity: Identity, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """An issue up to now, whether or not the report is enabled; its `n` is a job's id."""
    with transaction(held.engine) as db:
        report, now = store.get(db, caller.tenant, identity), held.now(db)
    issuer = Issuer(held.engine, held.now, held.data_api, held.settings)
    return shown_issue(issuer.make(report, now))


@router.get("/{id}/issues")  # noqa: FAST003  identity reads it
def list_issues(identity: Identity, caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """The issues that are kept, the newest first."""
    with transaction(held.engine) as db:
        return {"issues": [*map(shown_issue, store.issues(db, caller.tenant, identity))]}


@router.get("/{id}/issues/{n}")  # noqa: FAST003  identity reads it
def read_issue(
    identity: Identity,
    n: UUID,
    caller: Reader,
    held: ServicesDep,
    *,
    format: Literal["html", "pdf"] = "html",  # noqa: A002  the contract's word
) -> Response:
    """An issue as a page that loads and runs nothing, or as a PDF; 409 before it is made."""
    with transaction(held.engine) as db:
        issue = repository.get(db, caller.tenant, n)
        if issue.request.params.get("report") != str(identity):
            raise ReportNotFound(id=identity, issue=n)
        if issue.state is not State.SUCCEEDED:
            raise WrongState(state=issue.state, needed="succeeded")
        events = document.events(*store.events(db, issue))
    sections = [*issue.summary["sections"], events]
    start, end = store.period_of(issue)
    words = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    render, media = {
        "html": (document.html, "text/html; charset=utf-8"),
        "pdf": (document.pdf, "application/pdf"),
    }[format]
    headers = {"Content-Security-Policy": document.CSP, "X-Content-Type-Options": "nosniff"}
    headers["Content-Disposition"] = f'inline; filename="report-{end:%Y-%m-%d}.{format}"'
    content = render(issue.request.params["title"], words, sections)
    return Response(content, media_type=media, headers=headers)


def shown(report: RowMapping) -> dict[str, Any]:
    """A report for people."""
    names = ("name", "every", "hour", "enabled", "created_by")
    times = {name: instant(report[name]) for name in ("next_at", "created_at")}
    return {"id": str(report["id"]), **{name: report[name] for name in names}, **times}


def shown_issue(issue: Job | None) -> dict[str, Any]:
    """An issue for people."""
    assert issue is not None
    start, end = map(instant, store.period_of(issue))
    made = {"state": issue.state, "error": issue.error, "made_at": instant(issue.finished_at)}
    return {"n": str(issue.id), "start_at": start, "end_at": end, **made}
