"""Costs split over teams by an organisation, and over organisations by the operator."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status

from user_billing.api.deps import AdminCaller, BillingReader, ServicesDep, needs, operator
from user_billing.costs import rules
from user_billing.costs.rules import Over
from user_billing.costs.views import PoolBody, PoolView, SplitView
from user_billing.model import Principal, Scope

router = APIRouter(prefix="/api/v1", tags=["costs"])


def add_routes(
    prefix: str, over: Over, reader: Callable[..., Principal], admin: Callable[..., Principal]
) -> None:
    """Costs over teams, or over organisations, can be entered, read, exported and closed.

    reader, admin: dependencies that name the caller, or refuse.
    """
    one = prefix + "/{cost_id}"

    @router.post(prefix, status_code=status.HTTP_201_CREATED)
    def add_cost(
        body: PoolBody, caller: Annotated[Principal, Depends(admin)], services: ServicesDep
    ) -> dict[str, UUID]:
        """A cost to split."""
        return {"id": services.costs.add(caller, body.pool(over))}

    @router.get(one)
    def read_cost(
        cost_id: UUID, caller: Annotated[Principal, Depends(reader)], services: ServicesDep
    ) -> SplitView:
        """Who bears what."""
        return SplitView.of(services.costs.split(caller.tenant, cost_id, over))

    @router.get(f"{one}/export", response_class=Response)
    def export_cost(
        cost_id: UUID,
        caller: Annotated[Principal, Depends(reader)],
        services: ServicesDep,
        style: Annotated[Literal["csv", "focus"], Query(alias="format")] = "csv",
    ) -> Response:
        """The same as a CSV file, in plain columns or those of FOCUS."""
        split = services.costs.split(caller.tenant, cost_id, over)
        write = rules.focus if style == "focus" else rules.chargeback
        headers = {"Content-Disposition": f'attachment; filename="{style}-{cost_id}.csv"'}
        content = write(split.pool, split.bearers)
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @router.post(f"{one}/close")
    def close_cost(
        cost_id: UUID, caller: Annotated[Principal, Depends(admin)], services: ServicesDep
    ) -> SplitView:
        """The shares never change from now on."""
        return SplitView.of(services.costs.close(caller, cost_id, over))


add_routes("/costs", Over.TEAMS, needs(Scope.BILLING_READ, Scope.ADMIN), needs(Scope.ADMIN))
add_routes("/operator/costs", Over.ORGANISATIONS, operator, operator)


@router.get("/costs")
def list_costs(caller: BillingReader, services: ServicesDep) -> dict[str, list[PoolView]]:
    """The latest costs of the caller's organisation, newest first."""
    return {"costs": [PoolView.of(row) for row in services.costs.all(caller.tenant)]}


@router.delete("/costs/{cost_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove_cost(cost_id: UUID, caller: AdminCaller, services: ServicesDep) -> None:
    """An open cost is gone."""
    services.costs.remove(caller, cost_id)
