"""The ledger as an accountant reads it."""

from datetime import datetime
from uuid import UUID

from user_billing.ledger.rules import Account
from user_billing.money.views import Minor, View


class EntryView(View):
    """amount: decimal text, positive is debit."""

    account: Account
    currency: str
    amount: Minor


class TransactionView(View):
    """Entries that sum to zero. reference: the document it is of."""

    id: UUID
    at: datetime
    kind: str
    reference: str
    entries: list[EntryView]


class LedgerView(View):
    """Newest first. balances: of each account now. next: `before` of the next page, or null."""

    balances: list[EntryView]
    transactions: list[TransactionView]
    next: UUID | None
