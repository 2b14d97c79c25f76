"""The audit log of the caller's organisation."""

from typing import Annotated

from fastapi import APIRouter, Query

from user_billing.api.deps import BillingReader, ServicesDep
from user_billing.audit.service import PAGE_MAX
from user_billing.audit.views import AuditEventView, AuditView

router = APIRouter(prefix="/api/v1", tags=["audit"])


@router.get("/audit")
def read_audit(
    caller: BillingReader,
    services: ServicesDep,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> AuditView:
    """Events below sequence number `before`, newest first."""
    page = services.audit.page(caller.tenant, before=before, limit=limit)
    return AuditView(events=[AuditEventView.of(event, page.members) for event in page.events])
