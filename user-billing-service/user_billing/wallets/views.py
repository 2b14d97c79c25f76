"""The bodies of requests and answers about prepaid credit; amounts are decimal text."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.money import rules as money
from user_billing.wallets.rules import NewGrant, Source


class GrantBody(Body):
    """Credit for an organisation; lower priorities are used first, expires_at null is never."""

    amount: Annotated[Decimal, Field(gt=0, max_digits=30, decimal_places=9)]
    currency: Unicode
    source: Source
    reason: Annotated[Unicode, Field(min_length=1, max_length=500)]
    priority: Annotated[int, Field(ge=0, le=1_000)] = 100
    expires_at: Instant | None = None

    def grant(self) -> NewGrant:
        """As the rules take it. Raises BadInput for decimals that the currency does not have."""
        minor = money.parse(self.amount, self.currency)
        return NewGrant(
            self.currency, minor, self.source, self.reason, self.priority, self.expires_at
        )


class GrantView(BaseModel):
    """What was granted and what is left of it."""

    id: UUID
    currency: str
    amount: str
    remaining: str
    source: Source
    reason: str
    priority: int
    granted_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """As JSON tells it."""
        amounts = {n: money.text(getattr(row, n), row.currency) for n in ("amount", "remaining")}
        return cls.model_validate({**row._asdict(), **amounts})


class WalletView(BaseModel):
    """Of one currency. grants: how many have credit. next_expiry: of the first of these to end."""

    currency: str
    balance: str
    grants: int
    next_expiry: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """As JSON tells it."""
        balance = money.text(int(row.balance), row.currency)
        return cls.model_validate({**row._asdict(), "balance": balance})


class WalletsView(BaseModel):
    """A wallet for each currency; grants newest first. next: `before` of the next page, or null."""

    wallets: list[WalletView]
    grants: list[GrantView]
    next: UUID | None
