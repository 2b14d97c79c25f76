"""The bodies of subscriptions; amounts and quantities are decimal text."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.money.views import Minor, View
from user_billing.rating.model import Line, LineKind
from user_billing.subscriptions.rules import Terms, When
from user_billing.subscriptions.service import Change
from user_billing.usage.views import text

Factor = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class TermsBody(Body):
    """When periods begin: local midnight of a day of the month, in a zone of IANA."""

    anchor_day: Annotated[int, Field(ge=1, le=31)] = 1
    zone: Annotated[Unicode, Field(max_length=64)] = "UTC"

    def terms(self) -> Terms:
        """As the rules take it."""
        return Terms(**dict(self))


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


class PeriodView(View):
    """[start, end)."""

    start: datetime
    end: datetime


class LineView(View):
    """What one thing costs."""

    kind: LineKind
    description: str
    meter: str | None
    period: PeriodView
    quantity: Annotated[str, BeforeValidator(text)]
    unit: str
    amount: Minor


def _lines(lines: Sequence[Line], info: ValidationInfo) -> list[LineView]:
    return [LineView.of(line, info.data["currency"]) for line in lines]


class RatedView(View):
    """Lines and their sum, before tax."""

    currency: str
    lines: Annotated[list[LineView], BeforeValidator(_lines)]
    total: Minor


class SpanView(View):
    """A plan version and when the organisation has it; end null: until it is changed."""

    plan: str
    version: int = Field(validation_alias="n")
    start: datetime
    end: datetime | None


class CurrentView(View):
    """The plan, the running period, and what its hours cost until now; null without a price."""

    plan: str
    period: PeriodView
    accrued: RatedView | None
    subscriptions: list[SpanView]


class PreviewView(View):
    """The running period as it is, and with the change; null without a price."""

    effective_at: datetime
    before: RatedView | None
    after: RatedView | None


class ChangedView(BaseModel):
    """When the change takes effect."""

    plan: str
    effective_at: datetime


class WhatIfView(View):
    """The range as it was, null without a price, and as it would have been."""

    before: RatedView | None
    after: RatedView
