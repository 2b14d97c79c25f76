"""Plan → one load → evaluate → render.

    text ─ parse ─▶ tree ─ needed ─▶ spans ─ store.load ─▶ columns ─ evaluate, render ─▶ answer
              └── slot and turn of the tenant, deadline, cancellation, samples held ───────┘

The only place that knows both the store and PromQL. An answer is held, with its slot and its
memory, until its reader's block ends: a client that reads slowly holds what its tenant may hold.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from prometheus_client import Counter

from data_api.admission import Holding, SamplePool, Slots
from data_api.chassis.identity import Limits
from data_api.chassis.kinds import ServiceError
from data_api.errors import QueryTimeout
from data_api.model import EVER_MS, SAMPLE_BYTES, Columns, Loaded, QueryLimits, Result, SelectorSpan
from data_api.promql import InexactRollup
from data_api.questions import Plan, Question, Selectors, answered, planned
from data_api.store.reader import Cardinality, MatcherSets, Store
from data_api.turns import Turn, Turns

T = TypeVar("T")
A = TypeVar("A")
LOADED: Final = Counter("cloudopshub_query_samples_total", "Samples loaded for queries.")
DAY_MS: Final = 86_400_000

Render = Callable[[A, QueryLimits], T]
"""Makes the answer of what was read, in the same thread; obeys the limits' checkpoint and bytes."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """This process's own bounds; a tenant's plan may lower them, never raise them."""

    samples_max: int
    answer_bytes_max: int
    concurrency_max: int
    timeout_s: float
    queue_timeout_s: float
    lookback_ms: int


@dataclass(frozen=True, slots=True)
class Running:
    """One query in flight: what it obeys and what it holds."""

    limits: QueryLimits
    timeout_s: float
    turn: Turn
    holding: Holding

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """The block ends by the deadline; raises QueryTimeout. Then the query computes no more."""
        try:
            async with asyncio.timeout(self.timeout_s):
                yield
        except TimeoutError as exc:
            raise QueryTimeout(timeout_s=self.timeout_s) from exc
        self.turn.rest()

    async def pieces(self, body: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of `body`, each computed in a turn of its own."""
        while piece := await self.turn.run(lambda: next(body, b"")):
            self.turn.rest()
            yield piece
        self.turn.rest()


class Engine:
    """Answers queries of a tenant within its limits."""

    def __init__(
        self,
        store: Store,
        limits: EngineLimits,
        turns: Turns,
        pool: SamplePool,
        waiting_max: int,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        """waiting_max: queries of one tenant that may wait for a slot."""
        self.store = store
        self.limits = replace(limits, samples_max=min(limits.samples_max, pool.tenant_max))
        self._turns = turns
        self._pool = pool
        self._now_ms = now_ms
        self._slots = Slots(waiting_max)
        self._turns_alive: set[Turn] = set()

    def close(self) -> None:
        """Every query ends at its next checkpoint; returns when all have."""
        for turn in self._turns_alive:
            turn.end(lambda: None)
        self._turns.close()

    def query(
        self,
        tenant: UUID,
        plan: Limits,
        text: str,
        steps: tuple[int, int, int],
        render: Render[Result, T],
        *,
        timeout_s: float | None = None,
        lookback_ms: int | None = None,
    ) -> contextlib.AbstractAsyncContextManager[T]:
        """What `render` makes of the query's values at `steps` = (start, end, step) in ms, the end
        inclusive; a step of 0 asks for the value at one time.
        """
        lookback = self.limits.lookback_ms if lookback_ms is None else lookback_ms

        def first(results: Iterator[Result | ServiceError], limits: QueryLimits) -> T:
            result = next(results)
            if isinstance(result, ServiceError):
                raise result
            return render(result, limits)

        return self.queries(tenant, plan, [Question(text, steps, lookback)], first, timeout_s)

    def queries(
        self,
        tenant: UUID,
        plan: Limits,
        questions: Sequence[Question],
        render: Render[Iterator[Result | ServiceError], T],
        timeout_s: float | None = None,
    ) -> contextlib.AbstractAsyncContextManager[T]:
        """What `render` makes of the answers, in the order of the questions, each evaluated as it
        is asked for; one that cannot be answered is its error. In all they are one query: one slot,
        one deadline, and samples that several of them need are loaded once.
        """

        async def work(limits: QueryLimits) -> T:
            plans = [await planned(question, limits) for question in questions]
            spans = [s for one in plans if isinstance(one, Plan) for s in one.spans]

            async def answer(asked: Mapping[SelectorSpan, SelectorSpan]) -> T:
                partly: list[str] = []
                needed = [*dict.fromkeys(asked.values())]
                load = await self.store.opened(tenant, needed, replace(limits, warn=partly.append))

                def evaluated() -> T:
                    of = dict(zip(needed, _counted(load()), strict=True))
                    loaded = {span: of[asked[span]] for span in spans}
                    return render((answered(one, loaded, limits, partly) for one in plans), limits)

                return await limits.run(evaluated)  # one change of threads, not one for each step

            with contextlib.suppress(InexactRollup):
                return await answer({span: span for span in spans})
            return await answer({span: replace(span, rolled=None) for span in spans})

        return self.reading(tenant, plan, work, timeout_s)

    @contextlib.asynccontextmanager
    async def reading(
        self,
        tenant: UUID,
        plan: Limits,
        work: Callable[[QueryLimits], Awaitable[T]],
        timeout_s: float | None = None,
    ) -> AsyncIterator[T]:
        """What `work` read; the slot, and the memory of an answer in pieces, are held as long as
        the block.
        """
        async with self.admitted(tenant, plan, timeout_s) as query:
            async with query.in_time():
                answer = await work(query.limits)
            answer_bytes = sum(map(len, answer)) if isinstance(answer, list) else 0
            query.holding.keep(answer_bytes // SAMPLE_BYTES)
            yield answer

    @contextlib.asynccontextmanager
    async def admitted(
        self, tenant: UUID, plan: Limits, timeout_s: float | None = None
    ) -> AsyncIterator[Running]:
        """A query in flight, which every read of samples or series is."""
        bounds = self.bounds(plan)
        allowed_s = min(bounds.timeout_s, timeout_s or bounds.timeout_s)
        began_s = time.monotonic()
        wait_s = min(bounds.queue_timeout_s, allowed_s)
        await self._slots.take(tenant, bounds.concurrency_max, wait_s)
        turn = Turn(self._turns, tenant, began_s + allowed_s, began_s + bounds.queue_timeout_s)
        holding = Holding(self._pool, tenant)
        self._turns_alive.add(turn)
        limits = QueryLimits(
            samples_max=bounds.samples_max,
            kept_since_ms=self._kept_since_ms(plan),
            answer_bytes_max=bounds.answer_bytes_max,
            checkpoint=turn.checkpoint,
            reserve=holding.reserve,
            run=turn.run,
        )
        loop = asyncio.get_running_loop()

        def free() -> None:
            holding.keep(0)
            self._turns_alive.discard(turn)
            self._slots.give(tenant)

        def free_later() -> None:
            loop.call_soon_threadsafe(free)

        left_s = max(0.0, began_s + allowed_s - time.monotonic())
        try:
            yield Running(limits, left_s, turn, holding)
        finally:
            # A thread that is still at work holds the slot until it stops, at its next checkpoint.
            turn.end(free if turn.is_idle else free_later)

    def listed(
        self,
        tenant: UUID,
        plan: Limits,
        selectors: Selectors,
        find: Callable[[MatcherSets, QueryLimits], Awaitable[list[A]]],
        render: Render[list[A], T],
    ) -> contextlib.AbstractAsyncContextManager[T]:
        """What `render` makes of the names or series that `find` reads from the store."""

        async def work(limits: QueryLimits) -> T:
            names = await find(await selectors.parsed(limits), limits)
            return await limits.run(partial(render, names, limits))

        return self.reading(tenant, plan, work)

    def cardinality(
        self, tenant: UUID, plan: Limits, limit: int
    ) -> contextlib.AbstractAsyncContextManager[Cardinality]:
        """How many series there are, and which metrics, labels and pairs have the most."""
        return self.reading(
            tenant, plan, lambda limits: self.store.cardinality(tenant, limit, limits)
        )

    @contextlib.asynccontextmanager
    async def exported(
        self,
        tenant: UUID,
        plan: Limits,
        selectors: Selectors,
        span: tuple[int, int],
        write: Callable[[list[Columns]], Iterator[bytes]],
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """What `write` makes of the raw samples in `span` (ms, both inclusive), piece by piece;
        they are loaded in time, and slot and samples are held as long as the block.
        """
        async with self.admitted(tenant, plan) as query:
            async with query.in_time():
                sets = await selectors.parsed(query.limits)
                spans = [SelectorSpan(tuple(matchers), span[0] - 1, span[1]) for matchers in sets]
                loaded = _counted(await self.store.load(tenant, spans, query.limits))
            samples = [columns for columns in loaded if isinstance(columns, Columns)]
            yield query.pieces(write(samples))

    def bounds(self, plan: Limits) -> EngineLimits:
        """This process's bounds, lowered to the plan's."""
        own = self.limits
        return replace(
            own,
            samples_max=_lower(own.samples_max, plan.query_samples),
            concurrency_max=_lower(own.concurrency_max, plan.query_concurrency),
        )

    def _kept_since_ms(self, plan: Limits) -> int:
        """The first ms that the plan keeps."""
        days = plan.retention_days
        return EVER_MS if days is None else self._now_ms() - days * DAY_MS


def _counted(loaded: list[Loaded]) -> list[Loaded]:
    LOADED.inc(sum(columns.samples for columns in loaded))
    return loaded


def _lower(own: int, planned: int | None) -> int:
    return own if planned is None else min(own, planned)
