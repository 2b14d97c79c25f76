"""The bodies of plans; amounts, quantities and prices are decimal text."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from user_billing.api.bodies import Body, Unicode
from user_billing.money import rules as money
from user_billing.money.views import Minor, View
from user_billing.plans.rules import Model

Number = Annotated[
    Decimal,
    Field(ge=0, max_digits=38, decimal_places=12),
    AfterValidator(lambda number: number or Decimal(0)),  # 0E+999999999 is no whole number to build
]
Amount = Annotated[Decimal, Field(ge=0, max_digits=18)]


class TierBody(Body):
    """A tier; upto null: without end. unit: of one; flat: for entering it."""

    upto: Number | None
    unit: Number
    flat: Number = Decimal(0)


class PriceBody(Body):
    """The price of one meter, past the included units."""

    meter: Annotated[Unicode, Field(max_length=63)]
    model: Model
    included: Number = Decimal(0)
    unit: Number = Decimal(0)
    package: Number = Decimal(1)
    tiers: Annotated[list[TierBody], Field(max_length=20)] = Field(default=[])


class VersionBody(Body):
    """A version to add. recurring: of a period; minimum: what a period costs at least."""

    name: Unicode
    currency: Annotated[Unicode, Field(max_length=3)]
    recurring: Amount = Decimal(0)
    minimum: Amount = Decimal(0)
    prices: Annotated[list[PriceBody], Field(max_length=50)] = Field(default=[])

    def facts(self) -> dict[str, Any]:
        """As the service takes it: amounts in minor units. Raises BadInput."""
        minor = {n: money.parse(getattr(self, n), self.currency) for n in ("recurring", "minimum")}
        return self.model_dump(mode="json") | minor


class VersionView(View):
    """A version of a plan."""

    plan: str
    version: int = Field(validation_alias="n")
    name: str
    currency: str
    recurring: Minor
    minimum: Minor
    prices: list[dict[str, Any]]
    is_sold: Annotated[bool, BeforeValidator(lambda at: at is None)] = Field(
        validation_alias="retired_at"
    )


class PlansView(View):
    """Versions by plan and number."""

    plans: list[VersionView]


class NewVersionView(BaseModel):
    """The number of a new version."""

    plan: str
    version: int
