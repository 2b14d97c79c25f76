"""The bodies of plans; amounts, quantities and prices are decimal text."""

from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Row

from user_billing.api.bodies import Body, Unicode
from user_billing.money import rules as money
from user_billing.plans.rules import PRICES_MAX, TIERS_MAX, Model

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
    tiers: Annotated[list[TierBody], Field(max_length=TIERS_MAX)] = Field(default=[])


class VersionBody(Body):
    """A version to add. recurring: of a period; minimum: what a period costs at least."""

    name: Unicode
    currency: Annotated[Unicode, Field(max_length=3)]
    recurring: Amount = Decimal(0)
    minimum: Amount = Decimal(0)
    prices: Annotated[list[PriceBody], Field(max_length=PRICES_MAX)] = Field(default=[])

    def facts(self) -> dict[str, Any]:
        """As the service takes it."""
        return {
            "name": self.name,
            "currency": self.currency,
            "recurring": money.parse(self.recurring, self.currency),
            "minimum": money.parse(self.minimum, self.currency),
            "prices": [price.model_dump(mode="json") for price in self.prices],
        }


class VersionView(BaseModel):
    """A version of a plan."""

    plan: str
    version: int
    name: str
    currency: str
    recurring: str
    minimum: str
    prices: list[dict[str, Any]]
    is_sold: bool

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """As JSON shows it."""
        return cls(
            plan=row.plan, version=row.n, name=row.name, currency=row.currency,
            recurring=money.text(row.recurring, row.currency),
            minimum=money.text(row.minimum, row.currency),
            prices=row.prices, is_sold=row.retired_at is None,
        )  # fmt: skip


class PlansView(BaseModel):
    """Versions by plan and number."""

    plans: list[VersionView]


class NewVersionView(BaseModel):
    """The number of a new version."""

    plan: str
    version: int
