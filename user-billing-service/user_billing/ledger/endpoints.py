"""The ledger of the caller's organisation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from user_billing.api.deps import BillingReader, ServicesDep
from user_billing.ledger.rules import Entry
from user_billing.ledger.service import PAGE_MAX
from user_billing.ledger.views import BalancesView, EntryView, LedgerView

router = APIRouter(prefix="/api/v1/ledger", tags=["ledger"])


@router.get("")
def read_ledger(
    caller: BillingReader,
    services: ServicesDep,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> LedgerView:
    """Transactions before the one with that id, newest first."""
    page = services.ledger.page(caller.tenant, before=before, limit=limit)
    return LedgerView.of(page, limit)


@router.get("/balances")
def read_balances(caller: BillingReader, services: ServicesDep) -> BalancesView:
    """What each account stands at."""
    balances = services.ledger.balances(caller.tenant)
    entries = [Entry(account, currency, sum_) for (account, currency), sum_ in balances.items()]
    return BalancesView(balances=[EntryView.of(entry) for entry in entries])
