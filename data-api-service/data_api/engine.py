"""Plan → one load → evaluate → render.

    text ─ parse ─▶ tree ─ needed ─▶ spans ─ store.load ─▶ columns ─ evaluate, render ─▶ answer
              └── slot and turn of the tenant, deadline, cancellation, samples held ───────┘

A query that is likely to be heavy, or that has shown to be, is computed in a worker process: the
same functions with the same bounds. An answer is held, with its slot and its memory, until its
reader's block ends: a client that reads slowly holds what its tenant may hold.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Final, Self, TypeVar
from uuid import UUID

from prometheus_client import Counter

from data_api import promql
from data_api.admission import Holding, SamplePool, Slots
from data_api.chassis.identity import Limits
from data_api.chassis.kinds import ServiceError
from data_api.errors import QueryTimeout
from data_api.heaviness import ON_LOOP_S, UNKNOWN_S, Heavy, Meter, Weights, light_s
from data_api.model import EVER_MS, SAMPLE_BYTES, Columns, Cost, QueryLimits, Result, SelectorSpan
from data_api.query_log import Entry, QueryLog, ReadText
from data_api.questions import Find, Question, Render, Selectors, Text, computed, first, listed
from data_api.store.reader import Cardinality, Store
from data_api.turns import Turn, Turns
from data_api.workers.frames import packed
from data_api.workers.pool import Workers

T = TypeVar("T")
A = TypeVar("A")
LOADED: Final = Counter("cloudopshub_query_samples_total", "Samples loaded for queries.")
CPU: Final = Counter(
    "cloudopshub_query_cpu_seconds_total",
    "CPU that queries took, by where they ended: in the service's process or in a worker.",
    ["where"],
)
CPU_OF: Final = {where: CPU.labels(where) for where in ("process", "worker")}
COUNTED_S: Final = 1e-6  # a series among the counts of all
DAY_MS: Final = 86_400_000
READ: Final = ReadText("read")


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """This process's own bounds; a tenant's plan may lower them, never raise them."""

    samples_max: int
    answer_bytes_max: int
    concurrency_max: int
    timeout_s: float
    queue_timeout_s: float
    lookback_ms: int


class Running:
    """One query in flight: what it obeys and what it holds, from `async with` to the block's end.

    Raises TooManyQueries where the block would begin.
    """

    def __init__(
        self,
        engine: "Engine",
        tenant: UUID,
        plan: Limits,
        timeout_s: float | None = None,
        text: ReadText = READ,
    ) -> None:
        self._engine = engine
        self._tenant = tenant
        self._bounds = bounds = engine.bounds(plan)
        self._allowed_s = min(bounds.timeout_s, timeout_s or bounds.timeout_s)
        began_s = time.monotonic()
        self.ends_s = began_s + self._allowed_s
        self.holding, cost = Holding(engine.pool, tenant), Cost()
        self.entry = Entry(text, cost, self.holding)
        queue_ends_s = began_s + bounds.queue_timeout_s
        self.turn = Turn(engine.turns, tenant, self.ends_s, queue_ends_s)
        self.meter = Meter(self.turn, cost)
        self.limits = QueryLimits(
            samples_max=bounds.samples_max,
            kept_since_ms=engine.kept_since_ms(plan),
            answer_bytes_max=bounds.answer_bytes_max,
            checkpoint=self.meter.checkpoint,
            reserve=self.holding.reserve,
            run=self.meter.run,
            cost=cost,
        )

    async def __aenter__(self) -> Self:
        """It has a slot."""
        engine, bounds = self._engine, self._bounds
        engine.log.begin(self._tenant, self.entry)
        try:
            wait_s = min(bounds.queue_timeout_s, self._allowed_s)
            await engine.slots.take(self._tenant, bounds.concurrency_max, wait_s)
        except BaseException as exc:
            engine.log.end(self._tenant, self.entry, exc)
            raise
        engine.turns_alive.add(self.turn)
        return self

    async def __aexit__(self, _: object, exc: BaseException | None, trace: object) -> None:
        """The query is over; a thread that is still at work holds the slot until it stops, at its
        next checkpoint.
        """
        engine, cost = self._engine, self.limits.cost
        if not isinstance(exc, Exception):  # who leaves early is none: what was read counts
            engine.used(self._tenant, cost.samples)
        LOADED.inc(cost.samples)
        CPU_OF[self.entry.where].inc(cost.cpu_s)
        later = partial(asyncio.get_running_loop().call_soon_threadsafe, self._free)
        self.turn.end(self._free if self.turn.is_idle else later)
        engine.log.end(self._tenant, self.entry, exc)

    def _free(self) -> None:
        self.holding.keep(0)
        self._engine.turns_alive.discard(self.turn)
        self._engine.slots.give(self._tenant)

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """The block ends by the deadline; raises QueryTimeout. Then the query computes no more."""
        left_s = max(0.0, self.ends_s - time.monotonic())
        try:
            async with asyncio.timeout(left_s):
                yield
        except TimeoutError as exc:
            raise QueryTimeout(timeout_s=left_s) from exc
        self.turn.rest()

    async def pieces(self, body: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The pieces of `body`, each computed in a turn of its own."""
        while piece := await self.limits.run(lambda: next(body, b"")):
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
        workers: Workers | None = None,
        used: Callable[[UUID, int], None] = lambda _tenant, _samples: None,
    ) -> None:
        """waiting_max: queries of one tenant that may wait for a slot. workers: for heavy queries;
        without them all are computed in this process. used: told the samples that each query read,
        unless it ended in an error.
        """
        self.used = used
        self.log = QueryLog()
        self._workers = workers
        self._weights = Weights(store)
        self.store = store
        self.limits = replace(limits, samples_max=min(limits.samples_max, pool.tenant_max))
        self.turns = turns
        self.pool = pool
        self._now_ms = now_ms
        self.slots = Slots(waiting_max)
        self.turns_alive: set[Turn] = set()

    def close(self) -> None:
        """Every query ends at its next checkpoint; returns when all have."""
        for turn in list(self.turns_alive):  # a copy: the event loop takes out those that end
            turn.end(lambda: None)
        self.turns.close()

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
        counts_samples: bool = False,
        is_new: bool = False,
    ) -> contextlib.AbstractAsyncContextManager[T]:
        """What `render` makes of the query's values at `steps` = (start, end, step) in ms, the end
        inclusive; a step of 0 asks for the value at one time. is_new: no earlier answer will do.
        """
        lookback = self.limits.lookback_ms if lookback_ms is None else lookback_ms
        questions = [Question(text, steps, lookback, counts_samples, is_new)]
        return self.queries(tenant, plan, questions, partial(first, render), timeout_s)

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

        render: a function of a module, or a partial of one, where it is to leave this process.
        """
        work = partial(computed, self.store, tenant, questions, render)
        read_text = ReadText("query", "\n".join(question.text for question in questions))
        expected_s = self._weights.of_questions(tenant, read_text.text, questions)
        return self.reading(
            tenant, plan, work, timeout_s, read_text=read_text, expected_s=expected_s
        )

    @contextlib.asynccontextmanager
    async def reading(
        self,
        tenant: UUID,
        plan: Limits,
        work: Callable[[QueryLimits], Awaitable[T]],
        timeout_s: float | None = None,
        *,
        read_text: ReadText = READ,
        expected_s: float = UNKNOWN_S,
    ) -> AsyncIterator[T]:
        """What `work` read; the slot, and the memory of an answer in pieces, are held as long as
        the block. expected_s: seconds of CPU that it will take, roughly.
        """
        async with Running(self, tenant, plan, timeout_s, read_text) as query:
            async with query.in_time():
                answer = await self._answer(tenant, query, work, expected_s)
            answer_bytes = sum(map(len, answer)) if isinstance(answer, list) else 0
            query.entry.answer_bytes = answer_bytes
            query.holding.reserve(answer_bytes // SAMPLE_BYTES)
            query.holding.keep(answer_bytes // SAMPLE_BYTES)
            yield answer

    async def _answer(
        self,
        tenant: UUID,
        query: Running,
        work: Callable[[QueryLimits], Awaitable[T]],
        expected_s: float,
    ) -> T:
        """What `work` reads: here, or in a worker when it is heavy and can leave this process."""
        most_s, meter = self._weights.light_s, query.meter
        meter.is_on_loop = promql.is_warm() and expected_s <= ON_LOOP_S
        elsewhere = None
        if self._workers is not None:
            if expected_s > most_s and expected_s > light_s(query.turn, most_s):
                elsewhere = packed(work)
            if promql.is_warm():
                meter.bound(most_s, partial(packed, work))
        if elsewhere is None:
            try:
                return await work(query.limits)
            except Heavy as heavy:
                elsewhere = heavy.work
                heavy.__traceback__ = None  # its frames hold the samples, and the turn holds it
            finally:
                if meter.least_s:
                    self._weights.takes(tenant, query.entry.read_text.text, meter.least_s)
        assert self._workers is not None
        query.turn.rest()
        query.holding.keep(0)
        query.entry.where = "worker"
        queue_ends_s = time.monotonic() + self.limits.queue_timeout_s
        times = query.ends_s, queue_ends_s
        answer: T = await self._workers.run(tenant, elsewhere, query.limits, *times)
        return answer

    def listed(
        self,
        tenant: UUID,
        plan: Limits,
        selectors: Selectors,
        find: Find[A],
        render: Render[list[A], T],
        *,
        series_s: float,
    ) -> contextlib.AbstractAsyncContextManager[T]:
        """What `render` makes of the names or series that `find` reads from the store; both as in
        `queries`. series_s: seconds of CPU for each series that is selected, roughly.
        """
        work = partial(listed, selectors, find, render)
        read_text = ReadText("series", " ".join(selectors.texts))
        expected_s = self._weights.of_series(tenant, read_text.text, selectors, series_s)
        return self.reading(tenant, plan, work, read_text=read_text, expected_s=expected_s)

    def cardinality(
        self, tenant: UUID, plan: Limits, limit: int
    ) -> contextlib.AbstractAsyncContextManager[Cardinality]:
        """How many series there are, and which metrics, labels and pairs have the most."""
        work = partial(self.store.cardinality, tenant, limit)
        index = self.store.catalogue.index(tenant)
        expected_s = max(UNKNOWN_S, 0 if index is None else len(index) * COUNTED_S)
        read_text = ReadText("cardinality")
        return self.reading(tenant, plan, work, read_text=read_text, expected_s=expected_s)

    @contextlib.asynccontextmanager
    async def exported(
        self,
        tenant: UUID,
        plan: Limits,
        spans: Text[Sequence[SelectorSpan]],
        write: Callable[[list[Columns], QueryLimits], Iterator[bytes]],
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """What `write` makes of the raw samples of each span, piece by piece, all of it in turns of
        the tenant; the first is there in time, and slot and samples are held as long as the block.
        """
        read_text = ReadText("export", " ".join(spans.texts))
        async with Running(self, tenant, plan, None, read_text) as query:
            async with query.in_time():
                loaded = await self.store.load(
                    tenant, await spans.parsed(query.limits), query.limits
                )
                samples = [columns for columns in loaded if isinstance(columns, Columns)]
                query.limits.cost.series = sum(len(columns.labels) for columns in samples)
                query.limits.cost.samples = sum(columns.samples for columns in samples)

                def begun() -> tuple[bytes, Iterator[bytes]]:
                    body = write(samples, query.limits)
                    return next(body, b""), body

                first_piece, body = await query.limits.run(begun)
            yield query.pieces(chain([first_piece], body))

    def bounds(self, plan: Limits) -> EngineLimits:
        """This process's bounds, lowered to the plan's."""
        own = self.limits
        return replace(
            own,
            samples_max=_lower(own.samples_max, plan.query_samples),
            concurrency_max=_lower(own.concurrency_max, plan.query_concurrency),
        )

    def kept_since_ms(self, plan: Limits) -> int:
        """The first ms that the plan keeps."""
        days = plan.retention_days
        return EVER_MS if days is None else self._now_ms() - days * DAY_MS


def _lower(own: int, planned: int | None) -> int:
    return own if planned is None else min(own, planned)
