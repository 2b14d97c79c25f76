"""Meters over HTTP."""

from fastapi import APIRouter, status

from user_billing.api.deps import AdminCaller, BillingReader, ServicesDep
from user_billing.meters.views import MeterBody, MetersView, MeterView

router = APIRouter(prefix="/api/v1/meters", tags=["meters"])


@router.get("")
def list_meters(caller: BillingReader, services: ServicesDep) -> MetersView:
    """What is counted for the organisation, with its rules in words."""
    return MetersView.model_validate({"meters": services.meters.all(caller.tenant)})


@router.post("", status_code=status.HTTP_201_CREATED)
def create_meter(body: MeterBody, caller: AdminCaller, services: ServicesDep) -> MeterView:
    """A meter of the organisation's own events; it never changes."""
    made = services.meters.create(caller.tenant, body.meter(), caller.actor)
    return MeterView.model_validate(made)


@router.delete("/{code}", status_code=status.HTTP_204_NO_CONTENT)
def remove_meter(code: str, caller: AdminCaller, services: ServicesDep) -> None:
    """The meter is gone, if nothing was counted by it."""
    services.meters.remove(caller.tenant, code, caller.actor)
