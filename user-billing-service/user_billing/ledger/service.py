"""The ledger: posted to in the transaction of what it tells of, read and summed again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.errors import Conflict
from user_billing.identifiers import new_id
from user_billing.ledger import rules, sql
from user_billing.ledger.rules import Account, Entry
from user_billing.ledger.tables import ledger_tx
from user_billing.model import Actor

log = structlog.get_logger()

LEDGER = Actor("ledger")


def post(
    session: Session,
    org: UUID,
    *,
    key: str,
    kind: str,
    entries: Sequence[Entry],
    now: datetime,
    reference: str = "",
) -> bool:
    """The transaction `key` says this; whether it is new. The same again changes nothing.

    session: a transaction inside the organisation; what it posts stands or falls with it.
    Raises Conflict when the key says something else, which the audit log then tells.
    """
    rules.check(entries)
    digest = rules.digest(kind, reference, entries)
    values = {"key": key, "kind": kind, "reference": reference, "at": now, "digest": digest}
    if sql.add(session, org, new_id(), entries, **values):
        return True
    stored = rows.one(session, ledger_tx, org, key=key)
    assert stored is not None, "nothing is removed from the ledger"
    if stored.digest != digest:
        log.error("ledger_conflict", key=key)
        engine = session.get_bind()
        assert isinstance(engine, Engine)
        with Database(engine).organisation(org) as apart:  # outlives the caller's rollback
            audit.record(apart, org, LEDGER, "ledger.conflict", key, now=now)
        raise Conflict(detail=f"the ledger has {key} with other entries: they stand")
    return False


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """What all accounts are at, transactions with their entries, and where the next page begins."""

    balances: list[Entry]
    transactions: list[dict[str, Any]]
    next: UUID | None


class Ledger:
    """Reads and proves the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, org: UUID, *, before: UUID | None, limit: int) -> LedgerPage:
        """At most `limit` transactions with an id below `before`, newest first."""
        with self._database.organisation(org) as session:
            transactions = rows.page(session, ledger_tx, before, limit, org_id=org)
            entries = sql.entries(session, org, [row.id for row in transactions])
            sums = sql.balances(session, org)
        return LedgerPage(
            [Entry(*place, amount) for place, amount in sums.items()],
            [{**row._asdict(), "entries": entries[row.id]} for row in transactions],
            rows.next_page(transactions, limit),
        )

    def balances(self, org: UUID) -> dict[tuple[Account, str], int]:
        """(account, currency) → minor units; positive is debit."""
        with self._database.organisation(org) as session:
            return sql.balances(session, org)

    def faults(self, org: UUID) -> Iterator[str]:
        """What is not as it was posted, in words; nothing when all sums are right."""
        before = None
        while True:
            with self._database.organisation(org) as session:
                transactions = rows.page(session, ledger_tx, before, rows.PAGE_MAX, org_id=org)
                entries = sql.entries(session, org, [row.id for row in transactions])
            for row in transactions:
                stored = entries.get(row.id, [])
                digest = rules.digest(row.kind, row.reference, stored)
                if digest != row.digest or rules.imbalance(stored):
                    yield f"transaction {row.id} ({row.kind}) does not say what was posted"
            before = rows.next_page(transactions, rows.PAGE_MAX)
            if before is None:
                return
