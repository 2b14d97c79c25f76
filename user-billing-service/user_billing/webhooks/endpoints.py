"""Webhooks of the caller's organisation."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status

from user_billing import access
from user_billing.api.deps import AdminCaller, ServicesDep
from user_billing.idempotency.http import Once
from user_billing.model import Principal
from user_billing.webhooks import views
from user_billing.webhooks.rules import State
from user_billing.webhooks.service import PAGE_MAX

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


def fresh_admin(caller: AdminCaller, services: ServicesDep) -> Principal:
    """An administrator who logged in within the last hour."""
    access.require_fresh(caller, services.clock.now())
    return caller


FreshAdmin = Annotated[Principal, Depends(fresh_admin)]


@router.get("")
def list_webhooks(caller: AdminCaller, services: ServicesDep) -> views.EndpointsView:
    """Every endpoint, newest first, without its secret."""
    return views.EndpointsView.model_validate({"webhooks": services.webhooks.all(caller.tenant)})


@router.post("", status_code=status.HTTP_201_CREATED)
def create_webhook(
    body: views.EndpointBody,
    caller: FreshAdmin,
    response: Response,
    services: ServicesDep,
    _once: Once,
) -> views.NewSecretView:
    """A new endpoint; the answer is the only place where its secret is ever seen."""
    made = services.webhooks.create(caller.tenant, body.url, body.event_types, caller.actor)
    return _with_secret(response, *made)


@router.patch("/{webhook_id}")
def change_webhook(
    webhook_id: UUID, body: views.EndpointChange, caller: FreshAdmin, services: ServicesDep
) -> views.EndpointView:
    """The endpoint as it is after."""
    changes = body.model_dump(exclude_none=True)
    row = services.webhooks.change(caller.tenant, webhook_id, caller.actor, **changes)
    return views.EndpointView.model_validate(row)


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove_webhook(webhook_id: UUID, caller: FreshAdmin, services: ServicesDep) -> None:
    """Nothing is sent there any more, and its log is gone."""
    services.webhooks.remove(caller.tenant, webhook_id, caller.actor)


@router.post("/{webhook_id}/rotate")
def rotate_secret(
    webhook_id: UUID,
    body: views.RotateBody,
    caller: FreshAdmin,
    *,
    response: Response,
    services: ServicesDep,
    _once: Once,
) -> views.NewSecretView:
    """A new secret; the old one signs as well for a while."""
    overlap = timedelta(hours=body.overlap_hours)
    made = services.webhooks.rotate(caller.tenant, webhook_id, overlap, caller.actor)
    return _with_secret(response, *made)


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: UUID,
    caller: AdminCaller,
    services: ServicesDep,
    *,
    state: State | None = None,
    before: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> views.DeliveriesView:
    """Of events before the one with that id, newest first."""
    rows = services.webhooks.deliveries(
        caller.tenant, webhook_id, state=state, before=before, limit=limit
    )
    after = rows[-1].event_id if len(rows) == limit else None
    return views.DeliveriesView.model_validate({"deliveries": rows, "next": after})


@router.post("/{webhook_id}/replay")
def replay_deliveries(
    webhook_id: UUID, body: views.ReplayBody, caller: AdminCaller, services: ServicesDep
) -> dict[str, int]:
    """How many are sent again, under the ids they had."""
    chosen = body.model_dump()
    count = services.webhooks.replay(caller.tenant, webhook_id, caller.actor, **chosen)
    return {"count": count}


def _with_secret(response: Response, row: object, secret: str) -> views.NewSecretView:
    response.headers["Cache-Control"] = "no-store"
    return views.NewSecretView.model_validate({"endpoint": row, "secret": secret})
