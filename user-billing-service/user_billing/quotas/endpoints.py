"""Quotas, forecasts and anomalies over HTTP; the operator sets quotas of any organisation."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from user_billing.api.deps import AdminCaller, BillingReader, Operator, ServicesDep
from user_billing.quotas.forecast import Forecast
from user_billing.quotas.guard import PAGE_MAX
from user_billing.quotas.rules import Action, Quota
from user_billing.quotas.service import Standing
from user_billing.quotas.views import GuardView, QuotaBody

router = APIRouter(prefix="/api/v1", tags=["quotas"])
ONE = "/{meter}/{action}"
OF_ANY = "/operator/organisations/{organisation_id}/quotas"


def quota_of(meter: str, action: Action, body: QuotaBody) -> Quota:
    """The quota that path and body tell of."""
    return Quota(meter, action, body.limit, tuple(body.thresholds), body.interval_ms)


QuotaDep = Annotated[Quota, Depends(quota_of)]
Before = Annotated[UUID | None, Query()]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


@router.get("/quotas")
def read_quotas(caller: BillingReader, services: ServicesDep) -> Standing:
    """The quotas of the caller's organisation and where they stand this month."""
    return services.quotas.standing(caller.tenant)


@router.put("/quotas" + ONE, status_code=204)
def set_quota(caller: AdminCaller, quota: QuotaDep, services: ServicesDep) -> None:
    """This is the quota of that meter and action."""
    services.quotas.put(caller, caller.tenant, quota)


@router.delete("/quotas" + ONE, status_code=204)
def remove_quota(caller: AdminCaller, meter: str, action: Action, services: ServicesDep) -> None:
    """The quota is gone."""
    services.quotas.remove(caller, caller.tenant, meter, action)


@router.get(OF_ANY)
def read_quotas_of(_: Operator, organisation_id: UUID, services: ServicesDep) -> Standing:
    """The quotas of any organisation."""
    return services.quotas.standing(organisation_id)


@router.put(OF_ANY + ONE, status_code=204)
def set_quota_of(
    caller: Operator, organisation_id: UUID, quota: QuotaDep, services: ServicesDep
) -> None:
    """This is the quota of that meter and action, of any organisation."""
    services.quotas.put(caller, organisation_id, quota)


@router.delete(OF_ANY + ONE, status_code=204)
def remove_quota_of(
    caller: Operator, organisation_id: UUID, meter: str, action: Action, services: ServicesDep
) -> None:
    """The quota of any organisation is gone."""
    services.quotas.remove(caller, organisation_id, meter, action)


@router.get("/usage/forecast")
def read_forecast(caller: BillingReader, meter: str, services: ServicesDep) -> Forecast:
    """What a meter will have counted at the end of this month."""
    return services.quotas.forecast(caller.tenant, meter)


@router.get("/guard")
def read_guard(
    caller: BillingReader, services: ServicesDep, before: Before = None, limit: Limit = PAGE_MAX
) -> GuardView:
    """Anomalies of the caller's organisation below id `before`, newest first."""
    page = services.guard.page(caller.tenant, before, limit)
    return GuardView.model_validate({"anomalies": page})


@router.post("/guard/{anomaly_id}/dismiss", status_code=204)
def dismiss_anomaly(caller: AdminCaller, anomaly_id: UUID, services: ServicesDep) -> None:
    """It was meant: no more is told of it and no credit proposed."""
    services.guard.dismiss(caller, anomaly_id)


@router.get("/operator/guard")
def read_guard_of_all(
    _: Operator, services: ServicesDep, before: Before = None, limit: Limit = PAGE_MAX
) -> GuardView:
    """Anomalies of all organisations, newest first, with the credits proposed."""
    return GuardView.model_validate({"anomalies": services.guard.page_of_all(before, limit)})
