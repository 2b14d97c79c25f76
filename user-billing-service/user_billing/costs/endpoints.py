"""Costs split over teams by an organisation, and over organisations by the operator."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status

from user_billing.api.deps import AdminCaller, BillingReader, Operator, ServicesDep
from user_billing.costs import rules
from user_billing.costs.rules import Over
from user_billing.costs.service import Split
from user_billing.costs.views import PoolBody, PoolsView, PoolView, SplitView

router = APIRouter(prefix="/api/v1", tags=["costs"])


class Format(StrEnum):
    """Of an export."""

    CSV = "csv"
    FOCUS = "focus"


Style = Annotated[Format, Query(alias="format")]


@router.get("/costs")
def list_costs(caller: BillingReader, services: ServicesDep) -> PoolsView:
    """The latest costs of the caller's organisation."""
    rows = services.costs.all(caller.tenant)
    return PoolsView(costs=[PoolView.of(row) for row in rows])


@router.post("/costs", status_code=status.HTTP_201_CREATED)
def add_cost(body: PoolBody, caller: AdminCaller, services: ServicesDep) -> dict[str, UUID]:
    """A cost to split over the organisation's teams."""
    return {"id": services.costs.add(caller, body.pool(Over.TEAMS))}


@router.get("/costs/{cost_id}")
def read_cost(cost_id: UUID, caller: BillingReader, services: ServicesDep) -> SplitView:
    """Who bears what."""
    return SplitView.of(services.costs.split(caller.tenant, cost_id, Over.TEAMS))


@router.get("/costs/{cost_id}/export", response_class=Response)
def export_cost(
    cost_id: UUID, caller: BillingReader, services: ServicesDep, style: Style = Format.CSV
) -> Response:
    """The same as a CSV file, in plain columns or those of FOCUS."""
    return _file(services.costs.split(caller.tenant, cost_id, Over.TEAMS), style)


@router.post("/costs/{cost_id}/close")
def close_cost(cost_id: UUID, caller: AdminCaller, services: ServicesDep) -> SplitView:
    """The shares never change from now on."""
    return SplitView.of(services.costs.close(caller, cost_id, Over.TEAMS))


@router.delete("/costs/{cost_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove_cost(cost_id: UUID, caller: AdminCaller, services: ServicesDep) -> Response:
    """An open cost is gone."""
    services.costs.remove(caller, cost_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.post("/operator/costs", status_code=status.HTTP_201_CREATED)
def add_hub_cost(body: PoolBody, caller: Operator, services: ServicesDep) -> dict[str, UUID]:
    """A cost to split over all organisations."""
    return {"id": services.costs.add(caller, body.pool(Over.ORGANISATIONS))}


@router.get("/operator/costs/{cost_id}")
def read_hub_cost(cost_id: UUID, caller: Operator, services: ServicesDep) -> SplitView:
    """Which organisation bears what."""
    return SplitView.of(services.costs.split(caller.tenant, cost_id, Over.ORGANISATIONS))


@router.get("/operator/costs/{cost_id}/export", response_class=Response)
def export_hub_cost(
    cost_id: UUID, caller: Operator, services: ServicesDep, style: Style = Format.CSV
) -> Response:
    """The same as a CSV file."""
    return _file(services.costs.split(caller.tenant, cost_id, Over.ORGANISATIONS), style)


@router.post("/operator/costs/{cost_id}/close")
def close_hub_cost(cost_id: UUID, caller: Operator, services: ServicesDep) -> SplitView:
    """The shares never change from now on."""
    return SplitView.of(services.costs.close(caller, cost_id, Over.ORGANISATIONS))


def _file(split: Split, style: Format) -> Response:
    write = rules.focus if style is Format.FOCUS else rules.chargeback
    content = write(split.pool, split.shares, split.names)
    headers = {"Content-Disposition": f'attachment; filename="{style}-{split.id}.csv"'}
    return Response(content, media_type="text/csv; charset=utf-8", headers=headers)
