"""Billing periods: begun, waited for, closed; then drafts, one organisation a transaction.

open ──its end──▶ grace ──all sources reported past it, or the grace ran out──▶ closed
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from user_billing.chassis.clock import Clock
from user_billing.chassis.kinds import ServiceError
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, Room
from user_billing.invoices import rules, sql
from user_billing.invoices.service import Invoices
from user_billing.invoices.tables import billing_period
from user_billing.model import Audience
from user_billing.rating.model import Period
from user_billing.subscriptions.service import BILLING
from user_billing.usage import sql as usage_sql

log = structlog.get_logger()

ORGANISATIONS_AT_ONCE: Final = 20_000
PERIODS_AT_ONCE: Final = 24
"""Of one organisation in one step; a hub that was down for longer goes on in the next."""


class Periods(Room):
    """Brings the periods of all organisations forward."""

    def __init__(
        self, database: Database, clock: Clock, invoices: Invoices, grace: timedelta
    ) -> None:
        super().__init__(database, clock)
        self._invoices = invoices
        self._rating = invoices.rating
        self._grace = grace

    def step(self) -> int:
        """How many organisations had something due. A background step; replicas share the work."""
        with self._database.directory() as session:
            due = sql.due_organisations(session, self._clock.now(), ORGANISATIONS_AT_ONCE)
        for org in due:
            try:
                self._bring_forward(org)
            except Exception:  # one organisation holds up no other
                log.exception("billing_period_failed", organisation=str(org))
        return len(due)

    def _bring_forward(self, org: UUID) -> None:
        with self._database.directory() as session:
            watermarks = usage_sql.watermarks(session)
            seller = sql.seller(session)
        sells = seller is not None and seller.confirmed_at is not None
        with self._database.organisation(org) as session:
            closed = self._close(session, org, watermarks, sells=sells)
        for start in closed:
            try:
                made = self._invoices.make_draft(org, start, BILLING)
                if made is not None and seller is not None and seller.automatic:
                    self._invoices.finalise(org, made, BILLING)
            except ServiceError as exc:
                log.warning("invoice_waits", organisation=str(org), reason=str(exc))

    def _close(
        self,
        session: BoundSession,
        org: UUID,
        watermarks: Mapping[Audience, datetime | None],
        *,
        sells: bool,
    ) -> list[datetime]:
        """Starts of closed periods that wait for their draft; all that has begun is there."""
        now = self._clock.now()
        waiting: list[datetime] = []
        last = sql.last_period(session, org)
        for _ in range(PERIODS_AT_ONCE):
            if last is not None and last.end > now:
                break
            begins = last.end if last else self._rating.began(session, org) or now
            next_ = self._rating.period_at(session, org, begins)
            if next_ is None:
                break
            start = next_.start if last is None else last.end
            sql.add_period(session, org, Period(start, next_.end))
            last = sql.last_period(session, org)
        for row in sql.ended_periods(session, org, now):
            if row.state != "closed":
                where = {"org_id": org, "start": row.start}
                missing = rules.missing_at_close(row.end, watermarks, self._grace, now)
                if missing is None:
                    rows.change(session, billing_period, where, state="grace")
                    continue
                rows.change(
                    session, billing_period, where, state="closed", closed_at=now,
                    closed_by="grace" if missing else "complete", missing=missing,
                    drafted=not sells,
                )  # fmt: skip
            if sells:
                waiting.append(row.start)
        return waiting
