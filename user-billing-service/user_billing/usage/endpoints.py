"""Usage over HTTP: services report it, people and keys with `billing:read` read it."""

from fastapi import APIRouter
from pydantic import AwareDatetime

from user_billing.api.deps import BillingReader, RequestId, ServicesDep, Sister, SisterService
from user_billing.errors import NotAllowed
from user_billing.usage import rules
from user_billing.usage.rules import Step
from user_billing.usage.views import OutcomesView, ReportsBody, UsageView

router = APIRouter(tags=["usage"])


@router.post("/internal/usage", tags=["internal"], dependencies=[Sister])
def take_usage(
    body: ReportsBody, callers: SisterService, services: ServicesDep, rid: RequestId
) -> OutcomesView:
    """Hours as the caller counted them; one that is sent again changes nothing."""
    if body.source not in callers:
        raise NotAllowed(needs=f"the service token of {body.source}")
    reports = [report.report() for report in body.reports]
    taken = services.usage.take(body.source, reports, body.complete_through, rid)
    return OutcomesView(outcomes=taken)


@router.get("/api/v1/usage")
def read_usage(
    caller: BillingReader,
    services: ServicesDep,
    start: AwareDatetime | None = None,
    end: AwareDatetime | None = None,
    step: Step = Step.DAY,
) -> UsageView:
    """The caller's organisation, by step and meter; this month without a range."""
    now = services.clock.now()
    of_range = services.usage.of_range(
        caller.tenant, start or rules.month_of(now), end or now, step
    )
    return UsageView.of(of_range)
