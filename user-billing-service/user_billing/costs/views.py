"""The bodies of costs; amounts are decimal text."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.costs.rules import Bearer, Over, Pool, Split
from user_billing.money import rules as money

Weight = Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=9)]


class PoolBody(Body):
    """A cost of [start, end). weights: by meter; none: equal parts. spread: nobody's part, too."""

    name: Unicode
    start: Instant
    end: Instant
    amount: Annotated[Decimal, Field(ge=0, max_digits=18)]
    currency: Annotated[Unicode, Field(max_length=3)]
    weights: Annotated[dict[str, Weight], Field(max_length=20)] = Field(default={})
    spread: bool = False

    def pool(self, over: Over) -> Pool:
        """As the service takes it."""
        weights = {meter: Fraction(weight) for meter, weight in self.weights.items()}
        amount = money.parse(self.amount, self.currency)
        return Pool(
            self.name, over, self.start, self.end, amount, self.currency, weights,
            spread=self.spread,
        )  # fmt: skip


class PoolView(BaseModel):
    """A cost. closed_at null: its shares follow usage."""

    id: UUID
    name: str
    over: Over
    start: datetime
    end: datetime
    amount: str
    currency: str
    closed_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """As JSON shows it."""
        return cls(
            id=row.id, name=row.name, over=row.over, start=row.starts_at, end=row.ends_at,
            amount=money.text(row.amount, row.currency), currency=row.currency,
            closed_at=row.closed_at,
        )  # fmt: skip


class SplitView(BaseModel):
    """Who bears what; the shares sum to the amount."""

    id: UUID
    name: str
    amount: str
    currency: str
    closed_at: datetime | None
    shares: list[Bearer]

    @classmethod
    def of(cls, split: Split) -> Self:
        """As JSON shows it."""
        pool = split.pool
        return cls(
            id=split.id, name=pool.name, amount=money.text(pool.amount, pool.currency),
            currency=pool.currency, closed_at=split.closed_at, shares=split.bearers,
        )  # fmt: skip
