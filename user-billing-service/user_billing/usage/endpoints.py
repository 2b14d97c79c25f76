"""Usage over HTTP: services report hours, keys with `metrics:write` send events of own meters,
people and keys with `billing:read` read it.
"""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.responses import JSONResponse

from user_billing.access import require_fresh
from user_billing.api.bodies import Instant
from user_billing.api.deps import (
    AdminCaller,
    BillingReader,
    RequestId,
    ServicesDep,
    Sister,
    SisterService,
    needs,
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
    CloudEventBody,
    EventOutcomesView,
    ReportsBody,
    UsageView,
    outcomes_of,
)

Ending = Literal["close", "revert"]
UsageWriter = Annotated[Principal, Depends(needs(Scope.METRICS_WRITE))]
CLOUD_EVENT = CloudEventBody.model_json_schema()
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


@router.post("/internal/usage", tags=["internal"], dependencies=[Sister])
def take_usage(
    body: ReportsBody, callers: SisterService, services: ServicesDep, rid: RequestId
) -> dict[str, list[rules.Outcome]]:
    """Hours as the caller counted them, and what became of each in their order.

    One that is sent again changes nothing.
    """
    if body.source not in callers:
        raise NotAllowed(needs=f"the service token of {body.source}")
    reports = [report.report() for report in body.reports]
    return {"outcomes": services.usage.take(body.source, reports, body.complete_through, rid)}


@router.get("/api/v1/usage")
def read_usage(
    caller: BillingReader,
    services: ServicesDep,
    start: Instant | None = None,
    end: Instant | None = None,
    step: Step = Step.DAY,
) -> UsageView:
    """The caller's organisation, by step and meter; this month without a range."""
    now = services.clock.now()
    start, end = start or rules.month_of(now), end or now
    return UsageView.model_validate(services.usage.of_range(caller.tenant, start, end, step))


@router.post("/api/v1/usage/events", openapi_extra=EVENTS_BODY, response_model=EventOutcomesView)
def take_events(
    caller: UsageWriter,
    services: ServicesDep,
    sent: Annotated[object, Depends(cloud_events)],
    backfill: UUID | None = None,
) -> Response:
    """CloudEvents of the organisation's own meters: one, or a batch with an outcome each.

    (source, id) is an event's identity: the same again changes nothing; with another content it is
    a conflict. backfill: an open one, in which they wait.
    """
    rows = sent if isinstance(sent, list) else [sent]
    verdicts = services.intake.take(caller.tenant, rows, backfill, caller.actor)
    refusals = {Outcome.CONFLICT: Conflict, Outcome.REFUSED: BadInput}
    if rows is not sent and (refusal := refusals.get(verdicts[0].outcome)):
        raise refusal(detail=verdicts[0].reason)
    return JSONResponse(outcomes_of(verdicts))


@router.get("/api/v1/usage/backfills")
def list_backfills(caller: BillingReader, services: ServicesDep) -> BackfillsView:
    """The latest backfills of the caller's organisation."""
    return BackfillsView.model_validate({"backfills": services.intake.backfills(caller.tenant)})


@router.post("/api/v1/usage/backfills", status_code=status.HTTP_201_CREATED)
def open_backfill(caller: AdminCaller, services: ServicesDep) -> BackfillView:
    """A backfill: what is sent with its id waits until it is closed, or is gone with it."""
    return BackfillView.model_validate(services.intake.open(caller.tenant, caller.actor))


@router.post("/api/v1/usage/backfills/{backfill_id}/{ending}")
def end_backfill(
    backfill_id: UUID, ending: Ending, caller: AdminCaller, services: ServicesDep
) -> BackfillView:
    """Closed, its events count; reverted, they are gone as if they had never been sent."""
    require_fresh(caller, services.clock.now())
    outcome = BackfillOutcome.CLOSED if ending == "close" else BackfillOutcome.REVERTED
    row = services.intake.end(caller.tenant, backfill_id, outcome, caller.actor)
    return BackfillView.model_validate(row)
