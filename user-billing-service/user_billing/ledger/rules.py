"""Entries of the double-entry ledger. Pure.

    invoice     receivable + 119   revenue - 100   tax - 19
    grant       cash       + 50    wallet  - 50        (or promotion + 50: a gift)
    draw        wallet     + 50    receivable - 50
    payment     cash       + 69    receivable - 69
    expiry      wallet     + 10    expired - 10        (or promotion - 10)

Positive is debit, negative is credit; each currency of a transaction sums to zero.
Source: docs/adr/0042-ledger-wallets-and-webhooks.md.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Account(StrEnum):
    """The accounts that the hub keeps of each organisation."""

    RECEIVABLE = "receivable"
    """what it owes for invoices"""
    REVENUE = "revenue"
    TAX = "tax"
    CASH = "cash"
    """what it paid"""
    WALLET = "wallet"
    """prepaid credit that it may still use: negative"""
    PROMOTION = "promotion"
    """credit that was given, not paid"""
    EXPIRED = "expired"
    """paid credit that was not used in time"""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """amount: minor units, positive is debit."""

    account: Account
    currency: str
    amount: int


def transfer(debit: Account, credit: Account, amount: int, currency: str) -> list[Entry]:
    """`amount` from `credit` to `debit`."""
    return [Entry(debit, currency, amount), Entry(credit, currency, -amount)]


def imbalance(entries: Sequence[Entry]) -> dict[str, int]:
    """Currencies whose entries do not sum to zero, and their sums."""
    sums: Counter[str] = Counter()
    for entry in entries:
        sums[entry.currency] += entry.amount
    return {currency: total for currency, total in sums.items() if total}


def check(entries: Sequence[Entry]) -> None:
    """Passes when each currency sums to zero, and no entry is of nothing."""
    assert entries, "a transaction has entries"
    assert all(entry.amount for entry in entries), f"an entry of nothing: {entries}"
    assert not imbalance(entries), f"debit and credit differ: {imbalance(entries)}"


def digest(kind: str, reference: str, entries: Sequence[Entry]) -> bytes:
    """SHA-256 of what a transaction says, whatever the order of its entries."""
    rows = [[entry.account.value, entry.currency, entry.amount] for entry in sorted(entries)]
    return hashlib.sha256(json.dumps([kind, reference, rows]).encode()).digest()
