"""The audit log of the caller's organisation."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from user_billing.api.bodies import Instant
from user_billing.api.deps import BillingReader, ServicesDep
from user_billing.audit import export
from user_billing.audit.service import PAGE_MAX

router = APIRouter(prefix="/api/v1", tags=["audit"])


class AuditEventView(BaseModel):
    """An audit event."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str | None


class AuditView(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventView]


@router.get("/audit")
def read_audit(
    caller: BillingReader,
    services: ServicesDep,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> AuditView:
    """Events below sequence number `before`, newest first."""
    events = services.audit.page(caller.tenant, before=before, limit=limit)
    return AuditView.model_validate({"events": events})


FORMATS = {
    "json": (export.to_json, "application/json"),
    "csv": (export.to_csv, "text/csv; charset=utf-8"),
}


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {} for _, media_type in FORMATS.values()}}},
)
def export_audit(
    caller: BillingReader,
    services: ServicesDep,
    file_format: Annotated[Literal["csv", "json"], Query(alias="format")] = "json",
    start: Instant | None = None,
    end: Instant | None = None,
) -> StreamingResponse:
    """The events of [start, end) as a file, oldest first; `operate verify-audit` proves a JSON."""
    write, media_type = FORMATS[file_format]
    span = services.audit.span(caller.tenant, start, end)
    return StreamingResponse(
        write(services.audit.events(caller.tenant, span)),
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="audit.{file_format}"'},
    )
