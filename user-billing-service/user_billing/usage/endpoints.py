"""Usage over HTTP: services report hours, keys with `metrics:write` send events of own meters,
people and keys with `billing:read` read it.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, status
from pydantic import AwareDatetime

from user_billing.access import require_fresh
from user_billing.api.deps import (
    AdminCaller,
    BillingReader,
    RequestId,
    Services,
    ServicesDep,
    SisterService,
    needs,
    sister_service,
)
from user_billing.errors import BadInput, Conflict, NotAllowed
from user_billing.model import Principal, Scope
from user_billing.usage import events, rules
from user_billing.usage.events import Outcome
from user_billing.usage.intake import BackfillOutcome
from user_billing.usage.rules import Step
from user_billing.usage.views import (
    BackfillsView,
    BackfillView,
    EventOutcomesView,
    EventOutcomeView,
    OutcomesView,
    ReportsBody,
    UsageView,
)

UsageWriter = Annotated[Principal, Depends(needs(Scope.METRICS_WRITE))]
CLOUD_EVENT = {
    "type": "object",
    "required": ["specversion", "source", "id", "type", "time"],
    "properties": {
        "specversion": {"const": "1.0"},
        "source": {"type": "string", "maxLength": events.NAME_CHARS_MAX},
        "id": {"type": "string", "maxLength": events.NAME_CHARS_MAX},
        "type": {"type": "string", "description": "the code of a meter"},
        "time": {"type": "string", "format": "date-time"},
        "data": {"type": "object", "properties": {"value": {"type": ["string", "number"]}}},
    },
}
EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            events.STRUCTURED: {"schema": CLOUD_EVENT},
            events.BATCH: {
                "schema": {"type": "array", "items": CLOUD_EVENT, "maxItems": events.EVENTS_MAX}
            },
        },
    }
}


async def cloud_events(request: Request) -> object:
    """The event of the request, or the list of a batch. Raises BadInput."""
    return events.parse_body(await request.body(), request.headers.get("content-type", ""))


router = APIRouter(tags=["usage"])


@router.post("/internal/usage", tags=["internal"], dependencies=[Depends(sister_service)])
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


@router.post("/api/v1/usage/events", openapi_extra=EVENTS_BODY)
def take_events(
    caller: UsageWriter,
    services: ServicesDep,
    sent: Annotated[object, Depends(cloud_events)],
    backfill: UUID | None = None,
) -> EventOutcomesView:
    """CloudEvents of the organisation's own meters: one, or a batch with an outcome each.

    (source, id) is an event's identity: the same again changes nothing; with another content it is
    a conflict. backfill: an open one, in which they wait.
    """
    rows = sent if isinstance(sent, list) else [sent]
    verdicts = services.intake.take(caller.tenant, rows, backfill, caller.actor)
    if rows is not sent and verdicts[0].outcome is Outcome.CONFLICT:
        raise Conflict(detail=verdicts[0].reason)
    if rows is not sent and verdicts[0].outcome is Outcome.REFUSED:
        raise BadInput(detail=verdicts[0].reason)
    return EventOutcomesView(outcomes=[EventOutcomeView.of(verdict) for verdict in verdicts])


@router.get("/api/v1/usage/backfills")
def list_backfills(caller: BillingReader, services: ServicesDep) -> BackfillsView:
    """The latest backfills of the caller's organisation."""
    listed = services.intake.backfills(caller.tenant)
    return BackfillsView(backfills=[BackfillView.model_validate(row) for row in listed])


@router.post("/api/v1/usage/backfills", status_code=status.HTTP_201_CREATED)
def open_backfill(caller: AdminCaller, services: ServicesDep) -> BackfillView:
    """A backfill: what is sent with its id waits until it is closed, or is gone with it."""
    return BackfillView.model_validate(services.intake.open(caller.tenant, caller.actor))


@router.post("/api/v1/usage/backfills/{backfill_id}/close")
def close_backfill(backfill_id: UUID, caller: AdminCaller, services: ServicesDep) -> BackfillView:
    """Its events count."""
    return _end(backfill_id, BackfillOutcome.CLOSED, caller, services)


@router.post("/api/v1/usage/backfills/{backfill_id}/revert")
def revert_backfill(backfill_id: UUID, caller: AdminCaller, services: ServicesDep) -> BackfillView:
    """Its events are gone as if they had never been sent."""
    return _end(backfill_id, BackfillOutcome.REVERTED, caller, services)


def _end(
    backfill: UUID, outcome: BackfillOutcome, caller: Principal, services: Services
) -> BackfillView:
    require_fresh(caller, services.clock.now())
    row = services.intake.end(caller.tenant, backfill, outcome, caller.actor)
    return BackfillView.model_validate(row)
