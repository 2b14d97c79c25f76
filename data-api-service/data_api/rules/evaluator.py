"""The loop: groups of this process, each evaluated at its slots.

    turn ─┬─ every ROUND_S: leases renewed, groups claimed, changed ones read again
          └─ groups whose slot has come ─▶ evaluation ─▶ commit        (so many at once)

What fails before its commit is evaluated again, at the same slot, until the next slot comes.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import quote
from uuid import UUID

import anyio.to_thread
import structlog

from data_api.chassis.clock import Clock
from data_api.chassis.database import DatabaseUnavailable
from data_api.chassis.kinds import ServiceError
from data_api.rules import schedule, templates
from data_api.rules.acting import Acting
from data_api.rules.evaluation import Plan, World
from data_api.rules.leases import LEASE_S, ROUND_S, Leases, Owned
from data_api.rules.model import Alert, Sample, Vector
from data_api.settings import RulesSettings

POLL_S: Final = 0.2
AGAIN_S: Final = 2.0
STOP_S: Final = 10.0
DELETED_S: Final = 15.0  # until a deleted group's series end: by then its successor writes them
LOADED_AT_ONCE: Final = 20  # groups, between two looks at what is due
LINK_CHARS_MAX: Final = 2000  # of an expression in a link

Notify = Callable[[UUID, Sequence[Alert]], Awaitable[None]]
log = structlog.get_logger()


class LeaseLost(Exception):
    """This process may no longer write"""


@dataclass(slots=True)
class _Running:
    owned: Owned
    plan: Plan
    offset_ms: int
    turn: asyncio.Semaphore  # of its tenant
    size: int  # of its state
    again_s: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()


class Evaluator:
    """The groups of one process."""

    def __init__(
        self, leases: Leases, acting: Acting, notify: Notify, settings: RulesSettings, clock: Clock
    ) -> None:
        self._leases = leases
        self._acting = acting
        self._notify = notify
        self._settings = settings
        self._clock = clock
        self._groups: dict[int, _Running] = {}
        self._places = asyncio.Semaphore(settings.rules_concurrency)
        self._turns: dict[UUID, asyncio.Semaphore] = {}
        self._changed: list[int] = []
        self._round_s = self._lease_ends_s = float("-inf")
        self._ahead_ms = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluates until `stop`; then evaluations have ended and every group is free."""
        try:
            while not stop.is_set():
                await self.turn()
                if self._settings.rules_alive_file is not None:
                    self._settings.rules_alive_file.touch()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), POLL_S)
        finally:
            await self._leave()

    async def turn(self) -> None:
        """What is due now has begun; a database that is away is waited for."""
        now_s = time.monotonic()
        if now_s - self._round_s >= ROUND_S:
            try:
                await self._round()
            except ServiceError as exc:
                log.warning("rules_round_failed", reason=exc.describe())
                self._round_s = now_s - ROUND_S + AGAIN_S
        with contextlib.suppress(DatabaseUnavailable):  # which the next round tells
            await self._load()
        if now_s > self._lease_ends_s:
            return
        for one in self._groups.values():
            last_ms = one.owned.evaluated_ms
            is_due = last_ms is None or last_ms < self._slot(one)
            is_idle = one.owned.is_readable and not one.is_busy
            if is_due and is_idle and now_s >= one.again_s:
                one.task = asyncio.create_task(self._evaluate(one))

    def _slot(self, one: _Running) -> int:
        now_ms = self._clock.now_ms() - self._ahead_ms
        if one.owned.is_deleted:
            return now_ms  # after all that it wrote
        return schedule.slot_ms(now_ms, one.offset_ms, one.plan.interval_ms)

    async def settle(self) -> None:
        """No evaluation is under way."""
        if tasks := [one.task for one in self._groups.values() if one.task is not None]:
            await asyncio.wait(tasks)

    async def _round(self) -> None:
        began_s, began_ms = time.monotonic(), self._clock.now_ms()
        busy = {group_id for group_id, one in self._groups.items() if one.is_busy}
        versions, database_ms = await self._leases.renew(busy, self._groups)
        # Slots beyond the database's time would be missing to whoever goes on with the group.
        self._ahead_ms = max(0, began_ms - database_ms)
        self._round_s, self._lease_ends_s = began_s, began_s + LEASE_S
        self._groups = {
            key: one for key, one in self._groups.items() if key in versions or one.is_busy
        }
        tenants = {one.owned.tenant for one in self._groups.values()}
        self._turns = {tenant: self._turns[tenant] for tenant in tenants}
        self._changed = [
            key
            for key, version in versions.items()
            if key not in self._groups or self._groups[key].owned.version != version
        ]

    async def _load(self) -> None:
        """Some groups that are new or have changed are read; not all, since leases must not wait
        for thousands, nor groups in the middle of an evaluation, which would commit the old one.
        """
        ready = [
            key for key in self._changed if key not in self._groups or not self._groups[key].is_busy
        ][:LOADED_AT_ONCE]
        if not ready:
            return
        loaded = await self._leases.load(ready)
        self._changed = [key for key in self._changed if key not in ready]
        for owned in loaded:
            self._groups[owned.group_id] = await self._planned(owned)

    async def _planned(self, owned: Owned) -> _Running:
        group, settings = owned.group, self._settings
        interval_ms = round(settings.rules_interval_s * 1000)
        plan = await anyio.to_thread.run_sync(Plan, group, interval_ms, settings.rules_series_max)
        size = await anyio.to_thread.run_sync(lambda: owned.state.size)
        name = (str(owned.tenant), group.namespace, group.name)
        # A tenant with many groups waits for its own turns, so that others find a place soon.
        at_once = asyncio.Semaphore(max(1, settings.rules_concurrency // 2))
        turn = self._turns.setdefault(owned.tenant, at_once)
        again_s = time.monotonic() + DELETED_S if owned.is_deleted else 0.0
        offset_ms = schedule.offset_ms(name, plan.interval_ms)
        return _Running(owned, plan, offset_ms, turn, size, again_s=again_s)

    async def _evaluate(self, one: _Running) -> None:
        try:
            async with one.turn, self._places:
                await self._apply(one, self._slot(one))  # which may have come while it waited
        except (ServiceError, LeaseLost) as exc:
            one.again_s = time.monotonic() + AGAIN_S
            log.warning("evaluation_not_applied", group=one.plan.group.name, reason=str(exc))
        except Exception:
            one.again_s = time.monotonic() + ROUND_S
            log.exception("evaluation_failed", group=one.plan.group.name)

    async def _apply(self, one: _Running, slot: int) -> None:
        """The evaluation at `slot` is committed."""
        owned, plan, began_s = one.owned, one.plan, time.monotonic()
        ends_s = began_s + min(plan.interval_ms / 1000, self._settings.rules_timeout_s)
        before = owned.evaluated_ms
        others = sum(
            other.size
            for other in self._groups.values()
            if other is not one and other.owned.tenant == owned.tenant
        )
        room = self._settings.rules_tenant_series_max - others
        state = owned.state.of(plan.keys)
        if state.gone:
            state = replace(state, gone=await self._leases.ended(owned, state.gone))
        state = await plan.evaluated(state, before, slot, self._world(owned.tenant, ends_s, room))
        if owned.is_deleted:
            await self._leases.finish(owned)
            self._groups.pop(owned.group_id, None)
            return
        duration_s = time.monotonic() - began_s
        missed = schedule.missed(before, slot, plan.interval_ms)
        if missed:
            log.warning("evaluations_missed", group=plan.group.name, missed=missed)
        after = replace(state, duration_s=round(duration_s, 6))
        one.size = await anyio.to_thread.run_sync(lambda: state.size)
        if not await self._leases.commit(owned, after, slot, missed):
            log.warning("evaluation_not_applied", group=plan.group.name, reason="not the owner")
            self._groups.pop(owned.group_id, None)  # read again if it is ours after all

    def _world(self, tenant: UUID, ends_s: float, room: int) -> World:
        async def write(samples: Sequence[Sample]) -> None:
            if time.monotonic() > self._lease_ends_s:
                raise LeaseLost
            await self._acting.write(tenant, samples, ends_s, waits=False)

        async def ask(texts: Sequence[str], at_ms: int) -> list[Vector | ServiceError]:
            answers = await self._acting.ask(tenant, texts, at_ms, ends_s)
            return [answer.vector for answer in answers]

        return World(
            ask=lambda texts, at_ms: self._acting.ask(tenant, texts, at_ms, ends_s),
            write=write,
            notify=lambda alerts: self._notify(tenant, alerts),
            texts=partial(
                templates.prepared,
                ask=ask,
                external_url=self._settings.ui_public_url,
                external_labels=self._settings.external_labels,
                ends_s=ends_s,
            ),
            link=self._link,
            room=room,
        )

    def _link(self, expr: str) -> str:
        question = f"?q={quote(expr, safe='')}" if len(expr) <= LINK_CHARS_MAX else ""
        return f"{self._settings.ui_public_url.rstrip('/')}/#/explore{question}"

    async def _leave(self) -> None:
        tasks = {one.task for one in self._groups.values() if one.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
        with contextlib.suppress(ServiceError):  # else the lease runs out
            await self._leases.leave()
