"""The bodies of requests and answers about prepaid credit; amounts are decimal text."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import Field

from user_billing.api.bodies import Body, Instant, Unicode
from user_billing.money import rules as money
from user_billing.money.views import Minor, View
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
        return NewGrant(**{**dict(self), "amount": money.parse(self.amount, self.currency)})


class GrantView(View):
    """What was granted and what is left of it."""

    id: UUID
    currency: str
    amount: Minor
    remaining: Minor
    source: Source
    reason: str
    priority: int
    granted_at: datetime
    expires_at: datetime | None


class WalletView(View):
    """Of one currency. grants: how many have credit. next_expiry: of the first of these to end."""

    currency: str
    balance: Minor
    grants: int
    next_expiry: datetime | None


class WalletsView(View):
    """A wallet for each currency; grants newest first. next: `before` of the next page, or null."""

    wallets: list[WalletView]
    grants: list[GrantView]
    next: UUID | None
