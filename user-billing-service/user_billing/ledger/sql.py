"""SQL of the ledger inside one organisation, in the role `cloudopshub_billing_app`."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.db import rows
from user_billing.ledger.rules import Account, Entry
from user_billing.ledger.tables import ledger_entry as e
from user_billing.ledger.tables import ledger_tx as x

_CHECK_NOW = text(
    "SET CONSTRAINTS billing.ledger_tx_balances, billing.ledger_entry_balances IMMEDIATE;"
    " SET CONSTRAINTS billing.ledger_tx_balances, billing.ledger_entry_balances DEFERRED"
)
"""At the commit, a directory transaction has left the organisation and would see no entries."""


def add(
    session: Session, org: UUID, tx_id: UUID, entries: Sequence[Entry], **values: object
) -> bool:
    """Whether the transaction was added; False when its key is there."""
    added = session.execute(
        upsert(x)
        .values(org_id=org, id=tx_id, **values)
        .on_conflict_do_nothing(index_elements=[x.c.org_id, x.c.key])
        .returning(x.c.id)
    ).one_or_none()
    if added is None:
        return False
    of_tx = [{"tx_id": tx_id, "n": n, **asdict(entry)} for n, entry in enumerate(entries, 1)]
    rows.add(session, e, org, of_tx)
    session.execute(_CHECK_NOW)
    return True


def amount_of(session: Session, org: UUID, key: str, account: Account) -> int | None:
    """What the transaction with this key posted to the account; None without the transaction."""
    amount = session.scalar(
        select(func.sum(e.c.amount))
        .join_from(x, e, (e.c.org_id == x.c.org_id) & (e.c.tx_id == x.c.id))
        .where(x.c.org_id == org, x.c.key == key, e.c.account == account.value)
    )
    return None if amount is None else int(amount)


def entries(session: Session, org: UUID, ids: Sequence[UUID]) -> dict[UUID, list[Entry]]:
    """The entries of these transactions, as they were posted."""
    stored = session.execute(
        select(e).where(e.c.org_id == org, e.c.tx_id.in_(ids)).order_by(e.c.tx_id, e.c.n)
    )
    return {
        tx_id: [Entry(Account(row.account), row.currency, row.amount) for row in group]
        for tx_id, group in groupby(stored, key=lambda row: row.tx_id)
    }


def balances(session: Session, org: UUID) -> dict[tuple[Account, str], int]:
    """(account, currency) → the sum of its entries."""
    sums = session.execute(
        select(e.c.account, e.c.currency, func.sum(e.c.amount))
        .where(e.c.org_id == org)
        .group_by(e.c.account, e.c.currency)
        .order_by(e.c.account, e.c.currency)
    )
    return {(Account(account), currency): int(amount) for account, currency, amount in sums}
