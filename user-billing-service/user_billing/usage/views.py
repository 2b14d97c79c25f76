"""The bodies of requests and answers about usage: docs/contracts.md §2 and §6."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from user_billing.api.bodies import Body, Instant, View
from user_billing.meters.rules import Number, plain
from user_billing.model import Audience
from user_billing.usage.events import NAME_CHARS_MAX, Outcome, Verdict
from user_billing.usage.intake import BackfillOutcome
from user_billing.usage.rules import Reading, Report

REPORTS_MAX = 100
Quantity = Annotated[Decimal, Field(ge=0, max_digits=38, decimal_places=9)]


text = plain


class ReadingBody(Body):
    """A quantity, or the 60 numbers by minute of which it is the largest."""

    quantity: Quantity = Decimal(0)
    minutes: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default=[])


class ReportBody(Body):
    """One hour of one organisation as it stood at `revision`."""

    tenant: UUID
    hour: Instant
    revision: Annotated[int, Field(ge=1, lt=2**63)]
    meters: Annotated[dict[str, ReadingBody], Field(min_length=1)]

    def report(self) -> Report:
        """As the rules take it."""
        readings = {}
        for code, of in self.meters.items():
            quantity = Decimal(max(of.minutes)) if of.minutes else of.quantity
            readings[code] = Reading(quantity, tuple(of.minutes))
        return Report(self.tenant, self.hour, self.revision, readings)


class ReportsBody(Body):
    """What a service counted. complete_through: all that it counted before was reported."""

    source: Audience
    reports: Annotated[list[ReportBody], Field(max_length=REPORTS_MAX)]
    complete_through: Instant | None = None


class BucketView(BaseModel):
    """One meter in one step. Numbers are decimal text; p95 is over minutes, null without them.
    received_at: when the last of it became known; after the end of a period it was late.
    """

    start: datetime
    meter: str
    unit: str
    sum: Number
    max: Number
    mean: Number
    p95: Number | None
    received_at: datetime


class SourceView(BaseModel):
    """A service that counts. complete_through: all before was reported; null: it never did."""

    source: str
    complete_through: datetime | None


class UsageView(BaseModel):
    """Usage by step and meter, oldest first. complete_through: of the sources that ever reported
    the earliest, null before the first.
    """

    complete_through: datetime | None
    sources: list[SourceView]
    usage: list[BucketView]


class CloudEventBody(BaseModel):
    """An event as OpenAPI describes it; `events.parse` reads it. type: the code of a meter."""

    specversion: Literal["1.0"]
    source: Annotated[str, Field(max_length=NAME_CHARS_MAX)]
    id: Annotated[str, Field(max_length=NAME_CHARS_MAX)]
    type: str
    time: Instant
    data: dict[str, str | int] = {}


class EventOutcomeView(BaseModel):
    """What became of one event. source, id: null when the row has none. reason: why it does not
    count.
    """

    source: str | None
    id: str | None
    outcome: Outcome
    reason: str | None


class EventOutcomesView(BaseModel):
    """What became of each event, in their order."""

    outcomes: list[EventOutcomeView]


def outcomes_of(verdicts: Sequence[Verdict]) -> dict[str, list[dict[str, str | None]]]:
    """An EventOutcomesView as a plain dictionary, since a request has a thousand of them."""
    return {
        "outcomes": [
            {
                "source": event.source if event else None,
                "id": event.id if event else None,
                "outcome": outcome.value,
                "reason": reason or None,
            }
            for outcome, reason, event in verdicts
        ]
    }


class BackfillView(View):
    """Events that count when it is closed and are gone when it is reverted, or at `expires_at`."""

    id: UUID
    opened_at: datetime
    opened_by: str
    expires_at: datetime
    ended_at: datetime | None
    outcome: BackfillOutcome | None
    events: int


class BackfillsView(View):
    """The latest, newest first."""

    backfills: list[BackfillView]
