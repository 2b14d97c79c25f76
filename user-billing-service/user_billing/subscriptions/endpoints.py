"""Subscriptions of the caller's organisation; the operator changes those of any."""

from fractions import Fraction
from uuid import UUID

from fastapi import APIRouter

from user_billing.api.deps import AdminCaller, BillingReader, Operator, ServicesDep
from user_billing.rating.model import Period
from user_billing.subscriptions.views import (
    ChangeBody,
    ChangedView,
    CurrentView,
    PreviewView,
    WhatIfBody,
    WhatIfView,
)
from user_billing.usage import rules as usage_rules
from user_billing.usage.rules import Step

router = APIRouter(prefix="/api/v1", tags=["subscriptions"])


@router.get("/subscriptions/current")
def read_current(caller: BillingReader, services: ServicesDep) -> CurrentView:
    """The plan, the running period and what it costs so far."""
    return CurrentView.of(services.subscriptions.current(caller.tenant))


@router.post("/subscriptions/preview")
def preview(body: ChangeBody, caller: BillingReader, services: ServicesDep) -> PreviewView:
    """What a change would make of the running period; nothing is changed."""
    return PreviewView.of(services.subscriptions.preview(caller.tenant, body.change()))


@router.put("/subscriptions/current")
def change(body: ChangeBody, caller: AdminCaller, services: ServicesDep) -> ChangedView:
    """The organisation has that plan, now or from the end of the period on."""
    at = services.subscriptions.change(caller, caller.tenant, body.change())
    return ChangedView(plan=body.plan, effective_at=at)


@router.post("/what-if")
def what_if(body: WhatIfBody, caller: BillingReader, services: ServicesDep) -> WhatIfView:
    """What a past range would have cost under another plan, or with other usage.

    The usage is what was counted; factors are the caller's. What dropping a label would have saved
    is a factor that das computes from history: docs/contracts.md §6.
    """
    usage_rules.check_range(body.start, body.end, Step.MONTH)
    factors = {code: Fraction(factor) for code, factor in body.factors.items()}
    before, after = services.subscriptions.what_if(
        caller.tenant, body.plan, Period(body.start, body.end), factors
    )
    return WhatIfView.of({"before": before, "after": after})


@router.get("/operator/organisations/{organisation_id}/subscription")
def read_current_of(organisation_id: UUID, _caller: Operator, services: ServicesDep) -> CurrentView:
    """That of any organisation."""
    return CurrentView.of(services.subscriptions.current(organisation_id))


@router.put("/operator/organisations/{organisation_id}/subscription")
def change_of(
    organisation_id: UUID, body: ChangeBody, caller: Operator, services: ServicesDep
) -> ChangedView:
    """Any organisation has that plan."""
    at = services.subscriptions.change(caller, organisation_id, body.change())
    return ChangedView(plan=body.plan, effective_at=at)
