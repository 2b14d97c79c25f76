"""The ledger of the caller's organisation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from user_billing.api.deps import BillingReader, ServicesDep
from user_billing.db.rows import PAGE_MAX
from user_billing.ledger.views import LedgerView

router = APIRouter(prefix="/api/v1", tags=["ledger"])


@router.get("/ledger")
def read_ledger(
    caller: BillingReader,
    services: ServicesDep,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> LedgerView:
    """Transactions before the one with that id, newest first."""
    return LedgerView.of(services.ledger.page(caller.tenant, before=before, limit=limit))
