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
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import UUID

import structlog

from data_api.chassis.clock import Clock
from data_api.chassis.kinds import ServiceError
from data_api.rules import schedule, templates
from data_api.rules.acting import Acting
from data_api.rules.evaluation import Plan, World
from data_api.rules.leases import LEASE_S, ROUND_S, Leases, Owned
from data_api.rules.model import Alert, Group, Sample, Vector

POLL_S: Final = 0.2
AGAIN_S: Final = 2.0
STOP_S: Final = 10.0

Notify = Callable[[UUID, Sequence[Alert]], Awaitable[None]]
log = structlog.get_logger()


class LeaseLost(Exception):
    """This process may no longer write"""


@dataclass(frozen=True, slots=True)
class Outlets:
    """Who is told of alerts."""

    notify: Notify


@dataclass(frozen=True, slots=True)
class Options:
    """Of the settings, what the loop needs."""

    concurrency: int
    interval_ms: int
    timeout_s: float
    series_max: int
    link: str  # of the dashboard
    alive_file: Path | None = None


@dataclass(slots=True)
class _Running:
    owned: Owned
    plan: Plan
    offset_ms: int
    turn: asyncio.Semaphore  # of its tenant
    again_s: float = 0.0
    task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()


class Evaluator:
    """The groups of one process."""

    def __init__(
        self,
        leases: Leases,
        acting: Acting,
        outlets: Outlets,
        options: Options,
        clock: Clock,
    ) -> None:
        self._leases = leases
        self._acting = acting
        self._outlets = outlets
        self._options = options
        self._clock = clock
        self._groups: dict[int, _Running] = {}
        self._places = asyncio.Semaphore(options.concurrency)
        self._turns: dict[UUID, asyncio.Semaphore] = {}
        self._round_s = self._lease_ends_s = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Evaluates until `stop`; then evaluations have ended and every group is free."""
        try:
            while not stop.is_set():
                await self.turn()
                if self._options.alive_file is not None:
                    self._options.alive_file.touch()
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
        if now_s > self._lease_ends_s:
            return
        now_ms = self._clock.now_ms()
        for one in self._groups.values():
            slot = schedule.slot_ms(now_ms, one.offset_ms, one.plan.interval_ms)
            if one.owned.is_deleted:
                slot = now_ms  # after all that it wrote
            is_due = one.owned.evaluated_ms is None or one.owned.evaluated_ms < slot
            if is_due and not one.is_busy and now_s >= one.again_s:
                one.task = asyncio.create_task(self._evaluate(one, slot))

    async def settle(self) -> None:
        """No evaluation is under way."""
        if tasks := [one.task for one in self._groups.values() if one.task is not None]:
            await asyncio.wait(tasks)

    async def _round(self) -> None:
        began_s = time.monotonic()
        busy = {group_id for group_id, one in self._groups.items() if one.is_busy}
        versions = await self._leases.renew(busy, self._groups)
        self._round_s, self._lease_ends_s = began_s, began_s + LEASE_S
        self._groups = {
            key: one for key, one in self._groups.items() if key in versions or one.is_busy
        }
        tenants = {one.owned.tenant for one in self._groups.values()}
        self._turns = {tenant: self._turns[tenant] for tenant in tenants}
        changed = [
            key
            for key, version in versions.items()
            if key not in busy
            and (key not in self._groups or self._groups[key].owned.version != version)
        ]
        if changed:
            for owned in await self._leases.load(changed):
                self._groups[owned.group_id] = self._planned(owned)

    def _planned(self, owned: Owned) -> _Running:
        group = owned.group
        if owned.is_deleted:
            group = Group(group.namespace, group.name, group.interval_ms)
        plan = Plan(group, self._options.interval_ms, self._options.series_max)
        name = (str(owned.tenant), group.namespace, group.name)
        # A tenant with many groups waits for its own turns, so that others find a place soon.
        at_once = asyncio.Semaphore(max(1, self._options.concurrency // 2))
        turn = self._turns.setdefault(owned.tenant, at_once)
        return _Running(owned, plan, schedule.offset_ms(name, plan.interval_ms), turn)

    async def _evaluate(self, one: _Running, slot: int) -> None:
        try:
            async with one.turn, self._places:
                await self._apply(one, slot)
        except (ServiceError, LeaseLost) as exc:
            one.again_s = time.monotonic() + AGAIN_S
            log.warning("evaluation_not_applied", group=one.plan.group.name, reason=str(exc))
        except Exception:
            one.again_s = time.monotonic() + ROUND_S
            log.exception("evaluation_failed", group=one.plan.group.name)

    async def _apply(self, one: _Running, slot: int) -> None:
        """The evaluation at `slot` is committed."""
        owned, plan, began_s = one.owned, one.plan, time.monotonic()
        ends_s = began_s + min(plan.interval_ms / 1000, self._options.timeout_s)
        world = self._world(owned.tenant, ends_s)
        before = owned.evaluated_ms
        state = await plan.evaluated(owned.state, before, slot, world)
        if owned.is_deleted:
            await self._leases.finish(owned)
            self._groups.pop(owned.group_id, None)
            return
        duration_s = time.monotonic() - began_s
        missed = schedule.missed(before, slot, plan.interval_ms)
        if missed:
            log.warning("evaluations_missed", group=plan.group.name, missed=missed)
        after = replace(state, duration_s=round(duration_s, 6))
        if not await self._leases.commit(owned, after, slot, missed):
            log.warning("evaluation_not_applied", group=plan.group.name, reason="not the owner")
            self._groups.pop(owned.group_id, None)  # read again if it is ours after all

    def _world(self, tenant: UUID, ends_s: float) -> World:
        async def write(samples: Sequence[Sample]) -> None:
            if time.monotonic() > self._lease_ends_s:
                raise LeaseLost
            await self._acting.write(tenant, samples, ends_s)

        async def ask(texts: Sequence[str], at_ms: int) -> list[Vector | ServiceError]:
            answers = await self._acting.ask(tenant, texts, at_ms, ends_s)
            return [answer.vector for answer in answers]

        return World(
            ask=lambda texts, at_ms: self._acting.ask(tenant, texts, at_ms, ends_s),
            write=write,
            notify=lambda alerts: self._outlets.notify(tenant, alerts),
            texts=partial(
                templates.prepared, ask=ask, external_url=self._options.link, ends_s=ends_s
            ),
            link=lambda expr: (
                f"{self._options.link.rstrip('/')}/#/explore?q={quote(expr, safe='')}"
            ),
        )

    async def _leave(self) -> None:
        tasks = {one.task for one in self._groups.values() if one.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
        with contextlib.suppress(ServiceError):  # else the lease runs out
            await self._leases.leave()
