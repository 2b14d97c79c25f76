"""The ledger as an accountant reads it."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from user_billing.ledger.rules import Account, Entry
from user_billing.ledger.service import LedgerPage
from user_billing.money import rules as money


class EntryView(BaseModel):
    """amount: decimal text, positive is debit."""

    account: Account
    currency: str
    amount: str

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """As JSON tells it."""
        amount = money.text(entry.amount, entry.currency)
        return cls(account=entry.account, currency=entry.currency, amount=amount)


class TransactionView(BaseModel):
    """Entries that sum to zero. reference: the document it is of."""

    id: UUID
    at: datetime
    kind: str
    reference: str
    entries: list[EntryView]


class LedgerView(BaseModel):
    """Newest first. next: what `before` is for the next page, null at the end."""

    transactions: list[TransactionView]
    next: UUID | None

    @classmethod
    def of(cls, page: LedgerPage, limit: int) -> Self:
        """As JSON tells it."""
        rows = page.transactions
        views = [
            TransactionView(
                id=row.id, at=row.at, kind=row.kind, reference=row.reference,
                entries=[EntryView.of(entry) for entry in page.entries[row.id]],
            )
            for row in rows
        ]  # fmt: skip
        return cls(transactions=views, next=rows[-1].id if len(rows) == limit else None)


class BalancesView(BaseModel):
    """The sum of each account and currency."""

    balances: list[EntryView]
