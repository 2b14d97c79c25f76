"""Plan → one load → evaluate.

    text ─ parse ─▶ tree ─ needed ─▶ spans ─ store.load ─▶ columns ─ evaluate (a thread) ─▶ Result
                    └────────── slot of the tenant, deadline, cancellation ──────────────┘

The only place that knows both the store and PromQL.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final
from uuid import UUID

import anyio
import anyio.to_thread
from prometheus_client import Counter, Gauge

from data_api import promql
from data_api.chassis.identity import Limits
from data_api.errors import QueryCanceled, QueryTimeout, TooManyQueries
from data_api.model import Columns, Labels, Matcher, QueryLimits, Result, SelectorSpan
from data_api.promql.nodes import VectorSelector
from data_api.store.reader import MatcherSets, Store

RUNNING: Final = Gauge("cloudopshub_queries_running", "Queries in flight, over all tenants.")
LOADED: Final = Counter("cloudopshub_query_samples_total", "Samples loaded for queries.")
PARSED_KEPT: Final = 1024  # trees of recent queries
WARNINGS_MAX: Final = 10


@lru_cache(maxsize=PARSED_KEPT)
def parse(text: str) -> promql.Expr:
    """The tree of a query; trees are frozen, so dashboards that repeat themselves share one."""
    return promql.parse(text)


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of `name{…}`, as `match[]` takes it; any other expression is a ParseError."""
    expr = parse(text)
    if not isinstance(expr, VectorSelector) or expr.offset_ms or expr.at is not None:
        raise promql.ParseError(reason="expected a metric selector", where="1:1: ")
    return expr.matchers


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """This process's own bounds; a tenant's plan may lower them, never raise them."""

    samples_max: int
    concurrency_max: int
    timeout_s: float
    queue_timeout_s: float
    lookback_ms: int


@dataclass(slots=True)
class Deadline:
    """When a query ends, whoever ends it; `check` is called where a thread can stop."""

    ends_s: float
    canceled: bool = False

    def check(self) -> None:
        """Passes while the query may go on; raises QueryCanceled or QueryTimeout."""
        if self.canceled:
            raise QueryCanceled
        if time.monotonic() > self.ends_s:
            raise QueryTimeout


@dataclass(slots=True)
class _Queue:
    running: int = 0
    waiting: "deque[asyncio.Future[None]]" = field(default_factory=deque)


class Slots:
    """Who may run now: so many queries of one tenant at once, others in the order they came."""

    def __init__(self, wait_s_max: float) -> None:
        self._wait_s_max = wait_s_max
        self._queues: dict[UUID, _Queue] = {}

    @contextlib.asynccontextmanager
    async def taken(self, tenant: UUID, limit: int) -> AsyncIterator[None]:
        """A slot is held inside the block; raises TooManyQueries after waiting too long for one."""
        queue = self._queues.setdefault(tenant, _Queue())
        if queue.running >= limit or queue.waiting:
            await self._wait(queue, limit)
        else:
            queue.running += 1
        RUNNING.inc()
        try:
            yield
        finally:
            RUNNING.dec()
            _release(queue)
            if not queue.running and not queue.waiting:
                self._queues.pop(tenant, None)

    async def _wait(self, queue: _Queue, limit: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s_max):
                await turn
        except BaseException as exc:
            if turn.done() and not turn.cancelled():
                _release(queue)  # the slot came just as the wait ended
            else:
                with contextlib.suppress(ValueError):
                    queue.waiting.remove(turn)
            if isinstance(exc, TimeoutError):
                raise TooManyQueries(limit=limit, retry_after_s=1) from exc
            raise


def _release(queue: _Queue) -> None:
    """The slot goes to whoever waits longest, or is free."""
    while queue.waiting:
        turn = queue.waiting.popleft()
        if not turn.done():
            turn.set_result(None)
            return
    queue.running -= 1


class Engine:
    """Answers queries of a tenant within its limits."""

    def __init__(self, store: Store, limits: EngineLimits, threads: anyio.CapacityLimiter) -> None:
        self.store = store
        self.limits = limits
        self._threads = threads
        self._slots = Slots(limits.queue_timeout_s)

    async def instant(
        self,
        tenant: UUID,
        plan: Limits,
        text: str,
        at_ms: int,
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
    ) -> Result:
        """The query's value at one time."""
        steps = (at_ms, at_ms, 0)
        return await self._answer(
            tenant, plan, text, steps, timeout_s=timeout_s, lookback_ms=lookback_ms
        )

    async def range(
        self,
        tenant: UUID,
        plan: Limits,
        text: str,
        steps: tuple[int, int, int],
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
    ) -> Result:
        """The query's values; `steps` = (start, end, step) in ms, the end inclusive."""
        return await self._answer(
            tenant, plan, text, steps, timeout_s=timeout_s, lookback_ms=lookback_ms
        )

    @contextlib.asynccontextmanager
    async def admitted(
        self, tenant: UUID, plan: Limits, timeout_s: float | None = None
    ) -> AsyncIterator[QueryLimits]:
        """A slot and a deadline, which every read of samples holds; yields the bounds to obey."""
        bounds = self.bounds(plan)
        async with (
            _in_time(bounds, timeout_s) as limits,
            self._slots.taken(tenant, bounds.concurrency_max),
        ):
            yield limits

    async def series(
        self, tenant: UUID, plan: Limits, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[Labels]:
        """Label sets that one of `sets` selects, with samples in `span` (None = ever)."""
        async with self.admitted(tenant, plan) as limits:
            return await self.store.series(tenant, sets, span, limits)

    async def label_names(
        self, tenant: UUID, plan: Limits, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[str]:
        """Sorted label names of those series."""
        async with self.admitted(tenant, plan) as limits:
            return await self.store.label_names(tenant, sets, span, limits)

    async def label_values(
        self, tenant: UUID, plan: Limits, name: str, sets: MatcherSets, span: tuple[int, int] | None
    ) -> list[str]:
        """Sorted values of one label among those series."""
        async with self.admitted(tenant, plan) as limits:
            return await self.store.label_values(tenant, name, sets, span, limits)

    @contextlib.asynccontextmanager
    async def exported(
        self, tenant: UUID, plan: Limits, spans: Sequence[SelectorSpan]
    ) -> AsyncIterator[list[Columns]]:
        """The raw samples of each span, loaded in time; the slot is held as long as they are."""
        bounds = self.bounds(plan)
        async with self._slots.taken(tenant, bounds.concurrency_max):
            async with _in_time(bounds, None) as limits:
                loaded = await self._load(tenant, spans, limits)
            yield loaded

    def bounds(self, plan: Limits) -> EngineLimits:
        """This process's bounds, lowered to the plan's."""
        own = self.limits
        return replace(
            own,
            samples_max=_lower(own.samples_max, plan.query_samples),
            concurrency_max=_lower(own.concurrency_max, plan.query_concurrency),
        )

    async def _answer(
        self,
        tenant: UUID,
        plan: Limits,
        text: str,
        steps: tuple[int, int, int],
        *,
        timeout_s: float | None,
        lookback_ms: int | None,
    ) -> Result:
        expr = parse(text)
        start_ms, end_ms, step_ms = steps
        lookback = self.limits.lookback_ms if lookback_ms is None else lookback_ms
        spans = promql.needed(expr, start_ms, end_ms, step_ms, lookback)
        async with self.admitted(tenant, plan, timeout_s) as limits:
            partly: list[str] = []
            loaded = await self._load(tenant, spans, replace(limits, warn=partly.append))
            work = partial(
                promql.evaluate,
                expr,
                dict(zip(spans, loaded, strict=True)),
                start_ms,
                end_ms,
                max(step_ms, 1),
                lookback,
                limits,
                text=text,
                instant=step_ms == 0,
            )
            result = await anyio.to_thread.run_sync(
                work, limiter=self._threads, abandon_on_cancel=True
            )
        return replace(result, warnings=(*result.warnings, *shortened(partly)))

    async def _load(
        self, tenant: UUID, spans: Sequence[SelectorSpan], limits: QueryLimits
    ) -> list[Columns]:
        """The columns of each span."""
        loaded = await self.store.load(tenant, spans, limits)
        LOADED.inc(sum(columns.samples for columns in loaded))
        return loaded


@contextlib.asynccontextmanager
async def _in_time(bounds: EngineLimits, timeout_s: float | None) -> AsyncIterator[QueryLimits]:
    """The block ends by the deadline; raises QueryTimeout."""
    allowed_s = min(bounds.timeout_s, timeout_s or bounds.timeout_s)
    deadline = Deadline(time.monotonic() + allowed_s)
    try:
        async with asyncio.timeout(allowed_s):
            yield QueryLimits(bounds.samples_max, deadline.check)
    except TimeoutError as exc:
        raise QueryTimeout(timeout_s=allowed_s) from exc
    finally:
        deadline.canceled = True  # a thread that is still at work stops at its next check


def shortened(warnings: Sequence[str]) -> list[str]:
    """Each of them once, at most WARNINGS_MAX, and how many more there are."""
    once = list(dict.fromkeys(warnings))
    more = len(once) - WARNINGS_MAX
    return [*once[:WARNINGS_MAX], f"and {more} more like these"] if more > 0 else once


def _lower(own: int, planned: int | None) -> int:
    return own if planned is None else min(own, planned)
