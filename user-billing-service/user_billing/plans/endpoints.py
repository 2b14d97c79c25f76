"""Plans: what everybody can see, and what the operator keeps."""

from fastapi import APIRouter, Response, status

from user_billing.access import require_fresh
from user_billing.api.deps import BillingReader, Operator, ServicesDep
from user_billing.plans.views import NewVersionView, PlansView, VersionBody

router = APIRouter(prefix="/api/v1", tags=["plans"])


@router.get("/plans")
def list_plans(_caller: BillingReader, services: ServicesDep) -> PlansView:
    """The versions that are sold."""
    return PlansView.of({"plans": services.plans.all()})


@router.get("/operator/plans")
def list_all_plans(_caller: Operator, services: ServicesDep) -> PlansView:
    """Every version, also those that are no longer sold."""
    return PlansView.of({"plans": services.plans.all(retired=True)})


@router.post("/operator/plans/{plan}", status_code=status.HTTP_201_CREATED)
def add_version(
    plan: str, body: VersionBody, caller: Operator, services: ServicesDep
) -> NewVersionView:
    """A further version of the plan; whoever has an earlier one keeps it."""
    require_fresh(caller, services.clock.now())
    return NewVersionView(plan=plan, version=services.plans.add(caller, plan, body.facts()))


@router.delete("/operator/plans/{plan}/{version}", status_code=status.HTTP_204_NO_CONTENT)
def retire_version(plan: str, version: int, caller: Operator, services: ServicesDep) -> Response:
    """The version is no longer sold."""
    require_fresh(caller, services.clock.now())
    services.plans.retire(caller, plan, version)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
