"""The bodies of requests and answers about quotas and anomalies: docs/contracts.md §6."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import Field

from user_billing.api.bodies import Body, View
from user_billing.meters.rules import Number
from user_billing.quotas.anomalies import Kind, State
from user_billing.quotas.rules import (
    INTERVAL_MS_MAX,
    INTERVAL_MS_MIN,
    PERCENT_MAX,
    THRESHOLDS,
    THRESHOLDS_MAX,
)

Limit = Annotated[Decimal, Field(gt=0, max_digits=38, decimal_places=9)]
Percent = Annotated[int, Field(ge=1, le=PERCENT_MAX)]


class QuotaBody(Body):
    """A quota as it is to be. limit: in the meter's unit, of a calendar month of UTC."""

    limit: Limit
    thresholds: Annotated[list[Percent], Field(min_length=1, max_length=THRESHOLDS_MAX)] = Field(
        default=[*THRESHOLDS]
    )
    interval_ms: Annotated[int, Field(ge=INTERVAL_MS_MIN, le=INTERVAL_MS_MAX)] | None = None


class AnomalyRowView(View):
    """What was noticed, in quantities of the meter. until: null while it goes on."""

    id: UUID
    org_id: UUID
    meter: str
    kind: Kind
    state: State
    since: datetime
    until: datetime | None
    expected: Number
    actual: Number
    series_factor: Number | None


class AnomalyView(View):
    """An anomaly. evidence: the route of das that shows which label has how many values."""

    anomaly: Annotated[AnomalyRowView, Field(validation_alias="row")]
    factor: Number
    if_it_stays: Number | None
    if_it_ends: Number | None
    proposed_credit: Number | None
    evidence: str = "/api/v1/cardinality"


class GuardView(View):
    """The newest first."""

    anomalies: list[AnomalyView]
