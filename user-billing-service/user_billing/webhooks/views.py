"""The bodies of requests and answers about webhooks."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from user_billing.api.bodies import Body, Instant, Unicode, View
from user_billing.webhooks.rules import EventType, State


class EndpointBody(Body):
    """Where to send events; no types are all types."""

    url: Unicode
    event_types: list[EventType] = Field(default=[])


class EndpointChange(Body):
    """What is left out stays. enabled: true also forgets past failures."""

    url: Unicode | None = None
    event_types: list[EventType] | None = None
    enabled: bool | None = None


class RotateBody(Body):
    """How long the old secret goes on signing beside the new one."""

    overlap_hours: Annotated[int, Field(ge=0, le=168)] = 24


class ReplayBody(Body):
    """One event, or all whose delivery failed since a time."""

    event_id: UUID | None = None
    failed_since: Instant | None = None


class EndpointView(View):
    """An endpoint without its secret. disabled_at: null while it is on."""

    id: UUID
    url: str
    event_types: list[EventType]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    old_secret_until: datetime | None


class NewSecretView(View):
    """The endpoint and its secret, which is not shown again."""

    endpoint: EndpointView
    secret: str


class EndpointsView(View):
    """Newest first."""

    webhooks: list[EndpointView]


class DeliveryView(View):
    """status, duration_ms, error: of the last attempt, at sent_at. next_at: of a pending one."""

    event_id: UUID
    type: EventType
    state: State
    attempts: int
    queued_at: datetime
    next_at: datetime
    sent_at: datetime | None
    status: int | None
    duration_ms: int | None
    error: str


class DeliveriesView(View):
    """Newest first. next: what `before` is for the next page, null at the end."""

    deliveries: list[DeliveryView]
    next: UUID | None
