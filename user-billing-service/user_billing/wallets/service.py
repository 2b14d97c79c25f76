"""Prepaid credit. `draw` and `give_back` are steps of the transaction of a document.

Every change first locks the wallet, so two draws at once never take the same cent. In which order
a transaction may lock what: `invoices/service.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.orm import Session

from user_billing.audit import service as audit
from user_billing.chassis.kinds import ServiceError
from user_billing.db import rows
from user_billing.db.session import Room
from user_billing.errors import Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.ledger import sql as ledger_sql
from user_billing.ledger.rules import Account, transfer
from user_billing.ledger.service import post
from user_billing.ledger.tables import ledger_tx
from user_billing.model import Actor
from user_billing.money import rules as money
from user_billing.organisations import sql as organisations_sql
from user_billing.wallets import rules, sql
from user_billing.wallets.rules import NewGrant, Source
from user_billing.wallets.tables import wallet_grant

log = structlog.get_logger()

EXPIRED_AT_ONCE = 500
UPKEEP = Actor("upkeep")


def draw(session: Session, org: UUID, *, key: str, currency: str, total: int, now: datetime) -> int:
    """How much of `total` (minor units, an invoice's) the wallet paid: at most all of it.

    session: a transaction inside the organisation, in which the invoice is posted as well.
    key: the invoice's id; the same key draws once, and answers the same again.
    """
    assert total >= 0, "an invoice is never negative"
    sql.lock(session, org, currency, now)
    before = ledger_sql.amount_of(session, org, f"draw:{key}", Account.WALLET)
    if before is not None:
        if before > total:
            raise Conflict(detail=f"draw {key} took {before} before, more than {total}")
        return before
    parts = rules.share(sql.usable(session, org, currency, now), total)
    amount = sum(part.amount for part in parts)
    if amount:
        for part in parts:
            sql.change_remaining(session, org, part.grant_id, -part.amount)
        sql.add_draw(session, org, key, parts)
        entries = transfer(Account.WALLET, Account.RECEIVABLE, amount, currency)
        post(session, org, key=f"draw:{key}", kind="draw", entries=entries, now=now, reference=key)
    return amount


def give_back(
    session: Session, org: UUID, *, key: str, of: str, currency: str, amount: int, now: datetime
) -> int:
    """How much of `amount` the wallet got back: at most what draw `of` took and still has.

    key: the credit note's id (a voided invoice's own); the same key gives back once. What comes
    back goes to the grants it was drawn from, which then last 30 more days at least.
    """
    assert amount >= 0, "a credit note gives, it does not take"
    sql.lock(session, org, currency, now)
    before = ledger_sql.amount_of(session, org, f"give-back:{key}", Account.RECEIVABLE)
    if before is not None:
        return before
    parts = rules.share(sql.drawn(session, org, of), amount)
    returned = sum(part.amount for part in parts)
    if returned:
        for part in parts:
            sql.add_returned(session, org, of, part)
            grant = sql.grant(session, org, part.grant_id)
            ends = rules.expiry_after_return(grant.expires_at, now)
            sql.change_remaining(session, org, grant.id, part.amount, expires_at=ends)
        post(
            session, org, key=f"give-back:{key}", kind="give_back", now=now, reference=of,
            entries=transfer(Account.RECEIVABLE, Account.WALLET, returned, currency),
        )  # fmt: skip
    return returned


class Wallets(Room):
    """The wallets of all organisations."""

    def grant(self, org: UUID, grant: NewGrant, *, key: str, actor: Actor) -> Row[Any]:
        """The organisation has this credit; the same key grants once.

        Raises NotFound without the organisation, BadInput, and Conflict for another grant's key.
        """
        now = self._clock.now()
        with self._database.organisation(org) as session:
            if organisations_sql.organisation(session, org) is None:
                raise NotFound(organisation=str(org))
            sql.lock(session, org, grant.currency, now)
            before = rows.one(session, ledger_tx, org, key=f"grant:{key}")
            if before is not None:
                return _same(sql.grant(session, org, UUID(before.reference)), grant, key)
            counts = {row.currency: row.grants for row in sql.wallets(session, org)}
            rules.check_grant(grant, counts.get(grant.currency, 0), now)
            grant_id = new_id()
            row = {"id": grant_id, "remaining": grant.amount, "granted_at": now, **asdict(grant)}
            rows.add(session, wallet_grant, org, [row])
            source = rules.PAID_FROM[grant.source]
            post(
                session, org, key=f"grant:{key}", kind="grant", now=now, reference=str(grant_id),
                entries=transfer(source, Account.WALLET, grant.amount, grant.currency),
            )  # fmt: skip
            audit.record(
                session, org, actor, "wallet.granted", str(grant_id), now=now,
                amount=money.text(grant.amount, grant.currency), currency=grant.currency,
                source=grant.source.value, reason=grant.reason,
            )  # fmt: skip
            return sql.grant(session, org, grant_id)

    def page(
        self, org: UUID, *, before: UUID | None, limit: int
    ) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
        """The wallet of each currency, and at most `limit` grants with an id below `before`."""
        with self._database.organisation(org) as session:
            grants = rows.page(session, wallet_grant, before, limit, org_id=org)
            return sql.wallets(session, org), grants

    def expire(self) -> int:
        """How many grants ended; what was left of them is out of the wallets. A background step."""
        now, ended = self._clock.now(), 0
        with self._database.directory() as session:
            due = sql.due(session, now, EXPIRED_AT_ONCE)
        for org, currency in due:
            try:
                ended += self._expire(org, currency, now)
            except ServiceError as exc:  # the others go on, this one is due again
                log.warning("credit_not_expired", organisation=str(org), reason=str(exc))
        return ended

    def _expire(self, org: UUID, currency: str, now: datetime) -> int:
        with self._database.organisation(org) as session:
            sql.lock(session, org, currency, now)
            grants = sql.expired(session, org, currency, now, EXPIRED_AT_ONCE)
            for row in grants:
                sql.change_remaining(session, org, row.id, -row.remaining)
                credited = rules.EXPIRES_TO[Source(row.source)]
                entries = transfer(Account.WALLET, credited, row.remaining, currency)
                key = f"expiry:{row.id}:{row.expires_at.isoformat()}"
                post(session, org, key=key, kind="expiry", entries=entries, now=now,
                     reference=str(row.id))  # fmt: skip
            if n := len(grants):
                audit.record(session, org, UPKEEP, "wallet.expired", currency, now=now, grants=n)
        return n

    def faults(self, org: UUID) -> Iterator[str]:
        """Where wallets and ledger differ, in words; nothing when they agree."""
        with self._database.organisation(org) as session:
            posted = ledger_sql.balances(session, org)
            left = {row.currency: int(row.balance) for row in sql.wallets(session, org)}
        for currency, balance in left.items():
            if posted.get((Account.WALLET, currency), 0) != -balance:
                yield f"the grants in {currency} sum to {balance}, the ledger says otherwise"


def _same(row: Row[Any], grant: NewGrant, key: str) -> Row[Any]:
    names = ("currency", "amount", "source", "reason", "priority")  # the end may have moved
    if any(getattr(row, name) != getattr(grant, name) for name in names):
        raise Conflict(detail=f"key {key} made another grant before: it stands", grant=row.id)
    return row
