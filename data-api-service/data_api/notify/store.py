"""What a tenant's notifications are made of, in Postgres. Each method is one transaction."""

from dataclasses import astuple, dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import anyio.to_thread

from data_api.notify import tables
from data_api.notify.errors import TooMany
from data_api.notify.plan import Plan
from data_api.notify.sending import Outcome
from data_api.notify.state import Sent, Silence, TenantState
from data_api.rules.repository import connected
from data_api.store.catalogue import Database

LEASE: Final = timedelta(seconds=60)
SILENCES_MAX: Final = 1_000
SILENCE_MATCHERS_MAX: Final = 2_000
"""In all silences of a tenant: each alert is held against them."""
SILENCE_LIFE_MS: Final = 5 * 86_400_000
"""So long an expired silence is still shown."""


class LeaseLost(Exception):
    """Another dispatcher has the tenant now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A tenant that is ours until the lease ends; changes: what was received when it began."""

    tenant: UUID
    holder: UUID
    changes: int
    forwarded: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver, as the columns of the log."""

    at_ms: int
    outbox_id: UUID
    receiver: str
    integration: str
    group_key: str
    number: int
    alerts: int


class NotifyStore:
    """The tables of notifications. Raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, now_ms: int) -> Claim | None:
        """A tenant that is due and that nobody has; None when there is none."""
        holder = uuid4()
        async with connected(self._database) as connection:
            row = await connection.fetchrow(tables.CLAIM, holder, LEASE, now_ms)
        return row and Claim(row["tenant_id"], holder, row["changes"], row["forwarded"])

    async def release(self, claim: Claim, due_ms: int, forwarded: int, now_ms: int) -> None:
        """The tenant is nobody's, and due again then, or now where something came in."""
        async with connected(self._database) as connection:
            await connection.execute(
                tables.RELEASE, claim.tenant, claim.holder, claim.changes, due_ms, forwarded, now_ms
            )

    async def config(self, tenant: UUID) -> tuple[UUID, bytes] | None:
        """Revision and sealed text."""
        async with connected(self._database) as connection:
            row = await connection.fetchrow(tables.CONFIG, tenant)
        return row and (row["revision"], row["sealed"])

    async def set_config(self, tenant: UUID, sealed: bytes | None, now_ms: int) -> None:
        """The tenant's configuration is this one from now on; None = it has none."""
        async with connected(self._database) as connection, connection.transaction():
            await connection.execute(tables.WAKE, tenant, now_ms)
            if sealed is None:
                await connection.execute(tables.DELETE_CONFIG, tenant)
            else:
                await connection.execute(tables.SET_CONFIG, tenant, sealed)

    async def load(self, tenant: UUID, *, alerts_only: bool = False) -> TenantState:
        """All that decides about the tenant's notifications, at one instant.

        alerts_only: without what was told of them.
        """
        async with (
            connected(self._database) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            alerts = await connection.fetch(tables.ALERTS, tenant)
            silences = await connection.fetch(tables.SILENCES, tenant)
            groups = [] if alerts_only else await connection.fetch(tables.GROUPS, tenant)
            sent = [] if alerts_only else await connection.fetch(tables.SENT, tenant)
        # In a thread: there may be a thousand notifications, and the loop serves other tenants.
        return await anyio.to_thread.run_sync(tables.state_of, alerts, silences, groups, sent)

    async def apply(self, claim: Claim, plan: Plan, now_ms: int) -> None:
        """What the plan says is stored; LeaseLost when the tenant is not ours any more."""
        tenant = claim.tenant
        async with connected(self._database) as connection, connection.transaction():
            if not await connection.fetchval(tables.FENCE, tenant, claim.holder):
                raise LeaseLost
            await connection.executemany(
                tables.PUT_GROUP, [(tenant, *astuple(one)) for one in plan.groups]
            )
            await connection.executemany(
                tables.PUT_SENT, [(tenant, *tables.sent_row(one)) for one in plan.sent.values()]
            )
            for one in plan.superseded:
                assert one.outbox is not None
                attempt = attempt_of(one, one.outbox.attempts, now_ms)
                outcome = Outcome("superseded", detail="a newer notification replaces it")
                await _log(connection, tenant, attempt, outcome)
            await connection.execute(tables.GONE_GROUPS, tenant, plan.gone_groups)
            gone = plan.gone_alerts
            await connection.execute(tables.GONE_ALERTS, tenant, gone, claim.changes)
            await connection.execute(tables.OLD_SILENCES, tenant, now_ms - SILENCE_LIFE_MS)

    async def begin_attempt(self, tenant: UUID, sent: Sent, now_ms: int) -> bool:
        """Whether this attempt is ours to make: it is counted, and nobody makes another for as long
        as a lease, unless it is recorded before.
        """
        box = sent.outbox
        assert box is not None
        next_ms = now_ms + LEASE // timedelta(milliseconds=1)
        async with connected(self._database) as connection:
            row = (sent.group_id, sent.integration, box.outbox_id, next_ms)
            is_ours = await connection.fetchval(tables.ATTEMPT, tenant, *row, box.attempts)
        return bool(is_ours)

    async def record(
        self,
        tenant: UUID,
        attempt: Attempt,
        outcome: Outcome,
        *,
        sent: Sent | None = None,
        next_ms: int = 0,
    ) -> None:
        """What came of an attempt is in the log, and in the row that it was made for.

        next_ms: when the next one is due, should there be one.
        """
        async with connected(self._database) as connection, connection.transaction():
            if sent is not None and sent.outbox is not None:
                row = (tenant, sent.group_id, sent.integration, sent.outbox.outbox_id)
                if outcome.result == "retry":
                    await connection.execute(tables.RETRIED, *row, next_ms)
                else:
                    is_done = outcome.result == "delivered"
                    await connection.execute(tables.SETTLED, *row, is_done)
            await _log(connection, tenant, attempt, outcome)
            await connection.execute(tables.OLD_DELIVERIES, tenant)

    async def deliveries(self, tenant: UUID, limit: int) -> list[dict[str, Any]]:
        """The newest rows of the delivery log, newest first."""
        async with connected(self._database) as connection:
            return [dict(row) for row in await connection.fetch(tables.DELIVERIES, tenant, limit)]

    async def silences(self, tenant: UUID) -> list[Silence]:
        """Every silence, expired ones for some days too."""
        async with connected(self._database) as connection:
            rows = await connection.fetch(tables.SILENCES, tenant)
        return [tables.silence_of(row) for row in rows]

    async def put_silences(self, tenant: UUID, now_ms: int, *silences: Silence) -> None:
        """These are stored, all or none; of those that are over, SILENCES_MAX stay.

        Raises TooMany where more would not be over.
        """
        rows = [(tenant, *tables.silence_row(one)) for one in silences]
        async with connected(self._database) as connection, connection.transaction():
            await connection.execute(tables.WAKE, tenant, now_ms)  # one after the other
            await connection.executemany(tables.PUT_SILENCE, rows)
            counts = await connection.fetchrow(tables.COUNT_SILENCES, tenant, now_ms)
            if counts["count"] > SILENCES_MAX:
                raise TooMany(detail="silences of this tenant", limit=SILENCES_MAX)
            if counts["matchers"] > SILENCE_MATCHERS_MAX:
                raise TooMany(detail="matchers in silences", limit=SILENCE_MATCHERS_MAX)
            await connection.execute(tables.TRIM_SILENCES, tenant, now_ms, SILENCES_MAX)


def attempt_of(sent: Sent, number: int, now_ms: int) -> Attempt:
    """The attempt of an outbox entry."""
    assert sent.outbox is not None
    data = sent.outbox.data
    return Attempt(
        now_ms,
        sent.outbox.outbox_id,
        data["receiver"],
        sent.integration,
        data["groupKey"],
        number,
        len(data["alerts"]) + data["truncatedAlerts"],
    )


async def _log(connection: Any, tenant: UUID, attempt: Attempt, outcome: Outcome) -> None:
    values = (*astuple(attempt), *astuple(outcome))
    clean = (one.replace("\0", "") if isinstance(one, str) else one for one in values)
    await connection.execute(tables.LOG, tenant, *clean)
