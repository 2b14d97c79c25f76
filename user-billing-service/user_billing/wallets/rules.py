"""Which grants an invoice draws from, and which one gets it back. Pure.

    granted ──draw──▶ used ──give back──▶ granted again, for 30 days at least
       └──expires_at──▶ expired

First the lowest priority number, then what expires soonest (never: last), then the oldest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from user_billing.errors import BadInput
from user_billing.ledger.rules import Account

GRANTS_MAX: Final = 1_000
"""Of an organisation and currency with something left; so many rows a draw may have to lock."""
AFTER_RETURN: Final = timedelta(days=30)
"""So long at least what is given back may be used."""


class Source(StrEnum):
    """Where a grant comes from."""

    PAID = "paid"
    GIFT = "gift"


PAID_FROM: Final = {Source.PAID: Account.CASH, Source.GIFT: Account.PROMOTION}
EXPIRES_TO: Final = {Source.PAID: Account.EXPIRED, Source.GIFT: Account.PROMOTION}


@dataclass(frozen=True, slots=True)
class NewGrant:
    """Credit to be given. amount: minor units. expires_at: None is never."""

    currency: str
    amount: int
    source: Source
    reason: str
    priority: int = 100
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A grant and an amount: what is left of it, what is drawn from it, or what it gets back."""

    grant_id: UUID
    amount: int


def check_grant(grant: NewGrant, grants: int, now: datetime) -> None:
    """Raises BadInput for credit that is over already, or one grant too many.

    grants: how many of the wallet have credit now.
    """
    if grant.expires_at is not None and grant.expires_at <= now:
        raise BadInput(field="expires_at", value=grant.expires_at.isoformat(), needs="the future")
    if grants >= GRANTS_MAX:
        raise BadInput(field="currency", value=grant.currency, grants_with_credit_max=GRANTS_MAX)


def share(parts: Sequence[Part], total: int) -> list[Part]:
    """`total`, or all there is, taken from the parts in their order; parts of 0 are left out."""
    shares: list[Part] = []
    for part in parts:
        amount = min(part.amount, total)
        if amount > 0:
            shares.append(Part(part.grant_id, amount))
            total -= amount
    return shares


def expiry_after_return(expires_at: datetime | None, now: datetime) -> datetime | None:
    """When a grant ends that got something back now."""
    return None if expires_at is None else max(expires_at, now + AFTER_RETURN)
