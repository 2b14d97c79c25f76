"""The loop that notifies: takes a tenant that is due, plans, delivers, sets when to look again.

    claim (lease) ─▶ load ─▶ plan ─▶ apply ─▶ of each due outbox entry: count, send, record
One dispatcher has a tenant at a time. Killed anywhere, another goes on after the lease: what was
planned is in the outbox, and a message whose answer was not recorded is sent again under its id.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import anyio
import anyio.to_thread
import structlog
from prometheus_client import Counter

from data_api.chassis.clock import Clock
from data_api.chassis.database import DatabaseUnavailable
from data_api.chassis.guard import parse_networks
from data_api.notify.compiled import Compiled, Configurations
from data_api.notify.errors import Unreadable
from data_api.notify.external import forward
from data_api.notify.integrations import Email, Integration
from data_api.notify.messages import Message
from data_api.notify.plan import Planner
from data_api.notify.seal import Sealer
from data_api.notify.sending import DETAIL_MAX, Outcome, Sender
from data_api.notify.state import Outbox, Sent
from data_api.notify.store import Claim, LeaseLost, NotifyStore, attempt_of
from data_api.settings import Settings
from data_api.store.catalogue import Database

TICK_S: Final = 1.0
TENANTS_AT_ONCE: Final = 4
ATTEMPTS_A_PASS: Final = 16
"""All at once, so a pass ends within its lease; what is left is due at once again."""
ATTEMPTS_MAX: Final = 12
BACKOFF_MS: Final = 5_000
BACKOFF_MS_MAX: Final = 300_000
TROUBLE_MS: Final = 60_000
SENT: Final = Counter(
    "cloudopshub_notifications_total", "Attempts to notify.", ("integration", "result")
)

log = structlog.get_logger()


async def run(database: Database, settings: Settings, clock: Clock) -> None:
    """Notifies until it is cancelled, TENANTS_AT_ONCE beside one another.

    database: entered, with at least two connections. Replicas share the tenants by leases.
    """
    sender = Sender(parse_networks(settings.notify_allow))
    dispatcher = Dispatcher(
        NotifyStore(database),
        Configurations(Sealer(settings.sealing_secret())),
        sender,
        clock,
        settings.ui_public_url,
    )
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(TENANTS_AT_ONCE):
                group.create_task(dispatcher.follow())
    finally:
        await sender.close()


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Passes over tenants that are due."""

    store: NotifyStore
    configurations: Configurations
    sender: Sender
    clock: Clock
    external_url: str = ""

    async def follow(self) -> None:
        """What is due is done at once, for ever; trouble with Postgres is logged and waited out."""
        while True:
            try:
                await self.turn()
            except DatabaseUnavailable as exc:
                log.warning("notify_waits", reason=str(exc))
            await asyncio.sleep(TICK_S)

    async def turn(self) -> int:
        """Every tenant that is due now, one after the other; returns how many passes that took."""
        passes = 0
        while claim := await self.store.claim(self.clock.now_ms()):
            await self._pass(claim)
            passes += 1
        return passes

    async def _pass(self, claim: Claim) -> None:
        """One tenant; its trouble is logged and does not stop the others."""
        try:
            due_ms, forwarded = await self._notified(claim)
        except LeaseLost:
            log.warning("notify_lease_lost", tenant=str(claim.tenant))
            return
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - of this tenant alone: the others go on
            level = log.error if isinstance(exc, Unreadable) else log.exception
            level("notify_failed", tenant=str(claim.tenant), error=str(exc))
            due_ms, forwarded = self.clock.now_ms() + TROUBLE_MS, claim.forwarded
        await self.store.release(claim, due_ms, forwarded, self.clock.now_ms())

    async def _notified(self, claim: Claim) -> tuple[int, int]:
        """When to look again, and up to where alerts were given to other Alertmanagers."""
        tenant, now_ms = claim.tenant, self.clock.now_ms()
        compiled = await self.configurations.of(tenant, await self.store.config(tenant))
        state = await self.store.load(tenant)
        forwarded = claim.forwarded
        if compiled.config.alertmanager_urls:
            new = [one for one in state.alerts if one.received > forwarded]
            urls = compiled.config.alertmanager_urls
            if new and not await forward(
                self.store, self.sender, tenant, urls=urls, alerts=new, now_ms=now_ms
            ):
                return now_ms + BACKOFF_MS, forwarded
            forwarded = claim.changes
        planner = Planner(compiled.config, compiled.root, state, now_ms)
        plan = await anyio.to_thread.run_sync(planner.plan, self.external_url)
        if plan.groups_left_out:
            log.warning("notify_groups_left_out", tenant=str(tenant), groups=plan.groups_left_out)
        await self.store.apply(claim, plan, now_ms)
        rows = dict(state.sent) | plan.sent
        due = [
            one
            for one in rows.values()
            if one.outbox is not None and one.outbox.next_attempt_ms <= now_ms
        ]
        composing = anyio.CapacityLimiter(1)  # of a tenant one: what computes is felt by all
        attempts = [
            self._attempt(tenant, compiled, one, composing) for one in due[:ATTEMPTS_A_PASS]
        ]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        for failure in filter(None, results):  # once all have ended
            raise failure
        # After deliveries once more: what they leave to forget, and the entries that are left.
        return (now_ms if due else plan.due_ms), forwarded

    async def _attempt(
        self, tenant: UUID, compiled: Compiled, sent: Sent, composing: anyio.CapacityLimiter
    ) -> None:
        box, now_ms = sent.outbox, self.clock.now_ms()
        assert box is not None
        wait_ms = min(BACKOFF_MS << min(box.attempts, 10), BACKOFF_MS_MAX)
        if not await self.store.begin_attempt(tenant, sent, now_ms):
            return
        receiver = compiled.config.receiver(box.data["receiver"])
        integration = receiver.integrations().get(sent.integration) if receiver else None
        if integration is None:
            outcome = Outcome("failed", detail="the receiver is not configured any more")
        else:
            outcome = await send(
                self.sender, compiled, integration, box, now_ms, composing=composing
            )
        if outcome.result == "retry" and box.attempts + 1 >= ATTEMPTS_MAX:
            detail = f"given up after {ATTEMPTS_MAX} attempts: {outcome.detail}"
            outcome = Outcome("failed", outcome.status, detail[:DETAIL_MAX], outcome.duration_ms)
        SENT.labels(sent.integration.partition("/")[0], outcome.result).inc()
        attempt = attempt_of(sent, box.attempts + 1, now_ms)
        next_ms = self.clock.now_ms() + wait_ms
        await self.store.record(tenant, attempt, outcome, sent=sent, next_ms=next_ms)


async def send(
    sender: Sender,
    compiled: Compiled,
    integration: Integration,
    box: Outbox,
    now_ms: int,
    *,
    composing: anyio.CapacityLimiter,
) -> Outcome:
    """What came of sending this notification by this integration, once."""
    try:
        notice = compiled.texts.notice(box, now_ms)
        message = await anyio.to_thread.run_sync(integration.message, notice, limiter=composing)
    except Exception as exc:  # noqa: BLE001 - of this message alone, and final: the others go out
        why = str(exc) if isinstance(exc, ValueError) else type(exc).__name__
        return Outcome("failed", detail=f"the message cannot be made: {why}"[:DETAIL_MAX])
    if isinstance(message, Message):
        return await sender.post(message, compiled.secrets)
    assert isinstance(integration, Email)
    return await sender.mail(message, integration, compiled.secrets)
