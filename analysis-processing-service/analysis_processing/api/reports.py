"""Report routes: what is reported to the caller's organisation and when, and the issues made."""

from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from analysis_processing.api.deps import Analyst, PostedJson, Reader, ServicesDep
from analysis_processing.api.jobs import instant
from analysis_processing.api.watch import identity_of, validated
from analysis_processing.errors import InvalidJob, ReportNotFound
from analysis_processing.jobs.database import transaction
from analysis_processing.reports import store
from analysis_processing.reports.document import CSP
from analysis_processing.reports.store import Report

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])


class ReportBody(BaseModel):
    """A report as its owner writes it: made after each day, week or month that ends at `hour`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=200)
    every: Literal["day", "week", "month"]
    hour: int = Field(0, ge=0, le=23)
    timezone: str = Field("UTC", max_length=64)
    enabled: bool = True


def wanted_report(posted: PostedJson) -> dict[str, Any]:
    """The body, checked; raises RequestValidationError, InvalidJob."""
    body = validated(ReportBody, posted)
    name = body.name.strip()
    if not name or "\x00" in name:
        raise InvalidJob(detail="name is empty or holds a NUL")
    try:
        ZoneInfo(body.timezone)
    except (ValueError, KeyError, OSError) as exc:
        raise InvalidJob(detail=f"no time zone is called {body.timezone!r}") from exc
    return body.model_dump() | {"name": name}


def identity(text: Annotated[str, Path(alias="id")]) -> UUID:
    """The id in the path; raises ReportNotFound."""
    return identity_of(text, ReportNotFound)


Identity = Annotated[UUID, Depends(identity)]
Wanted = Annotated[dict[str, Any], Depends(wanted_report)]
BODY = {"content": {"application/json": {"schema": ReportBody.model_json_schema()}}}
DOCUMENT = {"requestBody": BODY | {"required": True}}


@router.post("", status_code=201, openapi_extra=DOCUMENT)
def make_report(wanted: Wanted, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """A new report, made when its next period has ended; 409 when its name is taken."""
    with transaction(held.engine) as db:
        return shown(store.make(db, caller.tenant, wanted, caller.subject, held.now(db)))


@router.get("")
def list_reports(caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """Every report by name, and the bounds."""
    with transaction(held.engine) as db:
        rows = [shown(report) for report in store.of_tenant(db, caller.tenant)]
    limits = {"reports_max": store.COUNT_MAX, "issues_max": store.ISSUES_MAX}
    return {"reports": rows, "limits": limits}


@router.get("/{id}")  # noqa: FAST003  identity reads it
def read_report(identity: Identity, caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """One report."""
    with transaction(held.engine) as db:
        return shown(store.get(db, caller.tenant, identity))


@router.put("/{id}", openapi_extra=DOCUMENT)  # noqa: FAST003  identity reads it
def change_report(
    identity: Identity, wanted: Wanted, caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The report as it is from now on."""
    with transaction(held.engine) as db:
        return shown(store.change(db, caller.tenant, identity, wanted, held.now(db)))


@router.delete("/{id}", status_code=204)  # noqa: FAST003  identity reads it
def delete_report(identity: Identity, caller: Analyst, held: ServicesDep) -> Response:
    """The report is gone with its issues."""
    with transaction(held.engine) as db:
        store.delete(db, caller.tenant, identity)
    return Response(status_code=204)


@router.post("/{id}/run", status_code=202)  # noqa: FAST003  identity reads it
def run_report(identity: Identity, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """An issue of the last day, week or month up to now is made; 409 for a disabled report."""
    with transaction(held.engine) as db:
        return shown(store.ask(db, caller.tenant, identity, held.now(db)))


@router.get("/{id}/issues")  # noqa: FAST003  identity reads it
def list_issues(identity: Identity, caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """The issues that are kept, the newest first."""
    with transaction(held.engine) as db:
        rows = store.issues(db, caller.tenant, identity)
    times = ("start_at", "end_at", "made_at")
    return {
        "issues": [{"n": row["number"], **{at: instant(row[at]) for at in times}} for row in rows]
    }


@router.get("/{id}/issues/{n}")  # noqa: FAST003  identity reads it
def read_issue(
    identity: Identity,
    n: Annotated[int, Path(ge=1, lt=2**31)],
    caller: Reader,
    held: ServicesDep,
    format: Literal["html", "pdf"] = "html",  # noqa: A002  the contract's word
) -> Response:
    """An issue as a page that loads nothing and runs nothing, or as a PDF."""
    with transaction(held.engine) as db:
        content = store.issue(db, caller.tenant, identity, n, format)
    headers = {
        "Content-Security-Policy": CSP,
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'inline; filename="report-{n}.{format}"',
    }
    media = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}[format]
    return Response(content, media_type=media, headers=headers)


def shown(report: Report) -> dict[str, Any]:
    """A report for people."""
    names = ("name", "every", "hour", "timezone", "enabled", "error", "issues", "created_by")
    times = ("next_at", "asked_at", "ran_at", "created_at")
    facts = {name: getattr(report, name) for name in names}
    return {"id": str(report.id), **facts, **{at: instant(getattr(report, at)) for at in times}}
