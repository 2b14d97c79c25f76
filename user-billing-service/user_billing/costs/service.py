"""Cost pools: entered, split as usage is known, closed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from user_billing import access
from user_billing.audit import service as audit
from user_billing.costs import rules, sql
from user_billing.costs.rules import Over, Pool, Share, Split
from user_billing.costs.tables import cost_pool
from user_billing.db import rows
from user_billing.db.session import BoundSession, Room, within
from user_billing.errors import BadInput, Conflict, NotFound
from user_billing.identifiers import new_id
from user_billing.invoices import payload
from user_billing.invoices.payload import Head
from user_billing.invoices.rules import check_statement
from user_billing.meters.rules import BUILT_IN
from user_billing.model import Principal
from user_billing.money import rules as money
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.rating.model import Line, LineKind, Period
from user_billing.teams import rules as teams_rules
from user_billing.teams import sql as teams_sql


class Costs(Room):
    """The cost pools of all organisations."""

    def all(self, org: UUID) -> Sequence[Row[Any]]:
        """The latest pools, newest first."""
        with self._database.organisation(org) as session:
            return rows.latest(session, cost_pool, org, rules.POOLS_MAX)

    def add(self, caller: Principal, pool: Pool) -> UUID:
        """The pool is there, and split by what is known of usage until it is closed."""
        now, org, pool_id = self._clock.now(), caller.tenant, new_id()
        access.require_fresh(caller, now)
        rules.check(pool)
        organisations_rules.normalise_name(pool.name, field="name")
        with self._database.organisation(org) as session:
            organisations_sql.lock(session, org)
            if len(rows.latest(session, cost_pool, org, rules.POOLS_MAX)) >= rules.POOLS_MAX:
                raise BadInput(field="pools", max=rules.POOLS_MAX, needs="fewer pools")
            sql.add(session, org, pool_id, pool, now)
            audit.record(
                session, org, caller.actor, "cost.added", f"cost:{pool_id}", now=now,
                amount=str(pool.amount), currency=pool.currency,
            )  # fmt: skip
        return pool_id

    def split(self, org: UUID, pool_id: UUID, over: Over) -> Split:
        """Who bears what of the pool. Raises NotFound."""
        with self._database.directory() as session:
            return self._split(session, org, pool_id, over, lock=False)

    def close(self, caller: Principal, pool_id: UUID, over: Over) -> Split:
        """The pool's shares never change from now on; closed again it stays. Raises NotFound."""
        now, org = self._clock.now(), caller.tenant
        access.require_fresh(caller, now)
        with self._database.directory() as session:
            split = self._split(session, org, pool_id, over, lock=True)
            if split.closed_at is not None:
                return split
            if split.pool.end > now:
                raise Conflict(detail="its time is not over", end=split.pool.end.isoformat())
            with within(session, org):
                shares = [[share.part, share.amount] for share in split.shares]
                key = {"id": pool_id}
                rows.changed(session, cost_pool, org, key, closed_at=now, shares=shares)
                audit.record(session, org, caller.actor, "cost.closed", f"cost:{pool_id}", now=now)
        return replace(split, closed_at=now)

    def statement(self, org: UUID, team_id: UUID, start: datetime, end: datetime) -> dict[str, Any]:
        """What a team used in [start, end), and its shares of the costs that lie within.

        The payload of a document without number or prices. Raises BadInput, NotFound.
        """
        check_statement(start, end)
        now, team, period = self._clock.now(), str(team_id), Period(start, end)
        with self._database.organisation(org) as session:
            names = {str(row.id): row.name for row in teams_sql.teams(session, org)}
            if team not in names:
                raise NotFound(team=team_id)
            hours = [hour for _, hour in teams_sql.hours(session, org, start, end, "hour")]
            sums = teams_rules.by_team(hours, teams_sql.shares(session, org, start, end))
            pools = rows.latest(session, cost_pool, org, rules.POOLS_MAX)
            organisation = organisations_sql.organisation(session, org)
        assert organisation is not None, "its caller belongs to it"
        used = {
            meter: n for (part, meter), n in teams_rules.means(hours, sums).items() if part == team
        }
        lines = []
        for meter in BUILT_IN:
            if meter.counted_as in used:
                quantity = (used[meter.counted_as] / meter.divisor).quantize(teams_rules.NANO)
                of = (meter.code, meter.code, period, quantity, meter.unit)
                lines.append(Line(LineKind.USAGE, *of, 0, {}))
        for row in reversed(pools):
            pool = sql.pool_of(row)
            if pool.over is Over.TEAMS and start <= pool.start and pool.end <= end:
                split = self.split(org, row.id, Over.TEAMS)
                amount = sum(share.amount for share in split.shares if share.part == team)
                cost, quantity = f"Share of {pool.name}", Decimal(money.text(amount, pool.currency))
                share = (None, Period(pool.start, pool.end), quantity, pool.currency)
                lines.append(Line(LineKind.USAGE, cost, *share, 0, {}))
        customer = dict.fromkeys(payload.CUSTOMER, "")
        customer["legal_name"] = f"{names[team]}, {organisation.name}"
        head = Head("statement", None, now, now.date(), period, None, None, customer)
        printed = [payload.line(n, at, None, None) for n, at in enumerate(lines, 1)]
        return payload.document(head, printed, None, notes=[payload.NO_INVOICE])

    def remove(self, caller: Principal, pool_id: UUID) -> None:
        """The open pool is gone. Raises NotFound, also for a closed one."""
        now, org = self._clock.now(), caller.tenant
        access.require_fresh(caller, now)
        with self._database.organisation(org) as session:
            if not rows.remove(session, cost_pool, org, id=pool_id, closed_at=None):
                raise NotFound(cost=pool_id)
            audit.record(session, org, caller.actor, "cost.removed", f"cost:{pool_id}", now=now)

    @staticmethod
    def _split(session: BoundSession, org: UUID, pool_id: UUID, over: Over, *, lock: bool) -> Split:
        with within(session, org):
            row = rows.require(session, cost_pool, org, lock=lock, id=pool_id, over=over.value)
            pool = sql.pool_of(row)
            every = teams_sql.teams(session, org)
            teams = {str(team.id): team.name for team in every}
            gone = {str(team.id) for team in every if (team.archived_at or pool.end) <= pool.start}
            hours = teams_sql.hours(session, org, pool.start, pool.end, "hour")
            shares = teams_sql.shares(session, org, pool.start, pool.end)
        if over is Over.TEAMS:
            usage = teams_rules.by_team((hour for _, hour in hours), shares)
        else:
            usage = dict(sql.usage_of_organisations(session, pool.start, pool.end))
        names = teams if over is Over.TEAMS else sql.organisations(session)
        if row.shares is not None:
            final = [Share(part, amount) for part, amount in row.shares]
            return Split(pool_id, pool, final, names, row.closed_at)
        parts = [part for part in names if pool.weights or part not in gone]
        return Split(pool_id, pool, rules.split(pool, parts, usage), names)
