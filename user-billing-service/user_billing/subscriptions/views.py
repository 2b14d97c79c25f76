"""The bodies of subscriptions; amounts and quantities are decimal text."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, Field

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.money import rules as money
from user_billing.rating.model import Line, LineKind, Period, Rated
from user_billing.subscriptions.rules import Terms, When
from user_billing.subscriptions.service import Change, Current, Preview
from user_billing.usage.views import text

Factor = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class TermsBody(Body):
    """When periods begin: local midnight of a day of the month, in a zone of IANA."""

    anchor_day: Annotated[int, Field(ge=1, le=31)] = 1
    zone: Annotated[Unicode, Field(max_length=64)] = "UTC"

    def terms(self) -> Terms:
        """As the rules take it."""
        return Terms(self.anchor_day, self.zone)


class ChangeBody(Body):
    """The plan to have, showback for none. when: null is now for an upgrade, else at period end."""

    plan: Annotated[Unicode, Field(max_length=32)]
    when: When | None = None
    terms: TermsBody | None = None

    def change(self) -> Change:
        """As the service takes it."""
        return Change(self.plan, self.when, None if self.terms is None else self.terms.terms())


class WhatIfBody(Body):
    """Another plan, and what usage of a meter would be multiplied by, for a past range."""

    plan: Annotated[Unicode, Field(max_length=32)]
    start: Instant
    end: Instant
    factors: Annotated[dict[str, Factor], Field(max_length=100)] = Field(default={})


class PeriodView(BaseModel):
    """[start, end)."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, period: Period) -> Self:
        """As JSON shows it."""
        return cls(start=period.start, end=period.end)


class LineView(BaseModel):
    """What one thing costs."""

    kind: LineKind
    description: str
    meter: str | None
    period: PeriodView
    quantity: str
    unit: str
    amount: str

    @classmethod
    def of(cls, line: Line, currency: str) -> Self:
        """As JSON shows it."""
        return cls(
            kind=line.kind, description=line.description, meter=line.meter,
            period=PeriodView.of(line.period), quantity=text(line.quantity), unit=line.unit,
            amount=money.text(line.amount, currency),
        )  # fmt: skip


class RatedView(BaseModel):
    """Lines and their sum, before tax."""

    currency: str
    lines: list[LineView]
    total: str

    @classmethod
    def of(cls, rated: Rated) -> Self:
        """As JSON shows it."""
        total = sum(line.amount for line in rated.lines)
        return cls(
            currency=rated.currency,
            lines=[LineView.of(line, rated.currency) for line in rated.lines],
            total=money.text(total, rated.currency),
        )

    @classmethod
    def maybe(cls, rated: Rated | None) -> Self | None:
        """The same; null without a price."""
        return None if rated is None else cls.of(rated)


class SpanView(BaseModel):
    """A plan version and when the organisation has it; end null: until it is changed."""

    plan: str
    version: int
    start: datetime
    end: datetime | None


class CurrentView(BaseModel):
    """The plan, the running period, and what its hours cost until now; null without a price."""

    plan: str
    period: PeriodView
    accrued: RatedView | None
    subscriptions: list[SpanView]

    @classmethod
    def of(cls, current: Current) -> Self:
        """As JSON shows it."""
        spans = [
            SpanView(plan=span.plan, version=span.n, start=span.start, end=span.end)
            for span in current.spans
        ]
        accrued = RatedView.maybe(current.accrued)
        period = PeriodView.of(current.period)
        return cls(plan=current.plan, period=period, accrued=accrued, subscriptions=spans)


class PreviewView(BaseModel):
    """The running period as it is, and with the change; null without a price."""

    effective_at: datetime
    before: RatedView | None
    after: RatedView | None

    @classmethod
    def of(cls, preview: Preview) -> Self:
        """As JSON shows it."""
        return cls(
            effective_at=preview.effective_at,
            before=RatedView.maybe(preview.before),
            after=RatedView.maybe(preview.after),
        )


class ChangedView(BaseModel):
    """When the change takes effect."""

    plan: str
    effective_at: datetime


class WhatIfView(BaseModel):
    """The range as it was, null without a price, and as it would have been."""

    before: RatedView | None
    after: RatedView
