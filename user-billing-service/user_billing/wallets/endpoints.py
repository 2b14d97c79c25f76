"""Prepaid credit: an organisation reads its own, the operator grants."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from user_billing import access
from user_billing.api.deps import BillingReader, Operator, ServicesDep
from user_billing.db.rows import PAGE_MAX, next_page
from user_billing.idempotency.http import RequiredKey
from user_billing.wallets.views import GrantBody, GrantView, WalletsView

router = APIRouter(prefix="/api/v1", tags=["wallets"])


@router.get("/wallets")
def read_wallets(
    caller: BillingReader,
    services: ServicesDep,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> WalletsView:
    """What is left in each currency, and the grants before the one with that id."""
    wallets, grants = services.wallets.page(caller.tenant, before=before, limit=limit)
    return WalletsView.of({"wallets": wallets, "grants": grants, "next": next_page(grants, limit)})


@router.post(
    "/operator/organisations/{organisation_id}/wallet/grants", status_code=status.HTTP_201_CREATED
)
def grant_credit(
    organisation_id: UUID,
    body: GrantBody,
    caller: Operator,
    services: ServicesDep,
    key: RequiredKey,
) -> GrantView:
    """The organisation has this credit; sent again with the same key, it has it once."""
    access.require_fresh(caller, services.clock.now())
    row = services.wallets.grant(organisation_id, body.grant(), key=key, actor=caller.actor)
    return GrantView.of(row)
