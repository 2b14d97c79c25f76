"""Which queries are heavy: expected to be, or seen to be.

    expected within ON_LOOP_S ─▶ the event loop ─ takes longer, or would wait ─▶ thread
    expected above LIGHT_S ──────────────────────────▶ worker
    else: in a thread ─ LIGHT_S of CPU at a checkpoint ─▶ Heavy ─▶ worker, and so the next time

Of a tenant that is alone, ALONE_TIMES as much is light: it disturbs nobody, and the service's own
caches are the larger ones. What cannot move stays.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from data_api import cost
from data_api.errors import BadRequest, QueryError
from data_api.model import Cost
from data_api.questions import LOOP_CHARS_MAX, PARSED_CHARS_MAX, Question, Selectors, may_be_large
from data_api.store.cache import MAY_WAIT, WouldWait
from data_api.store.postings import SeriesIndex
from data_api.store.reader import Store
from data_api.turns import Turn

T = TypeVar("T")
LIGHT_S: Final = 0.1
ALONE_TIMES: Final = 50
ON_LOOP_S: Final = 0.004  # expected to take so little: computed where it came in
ON_LOOP_S_MAX: Final = 0.005  # and goes on in a thread when it takes longer after all
UNKNOWN_S: Final = 0.05  # of what cannot be estimated: not for the event loop, nor for a worker
REMEMBERED: Final = 1024
NEVER: Final = float("inf")


class Heavy(Exception):
    """The query has taken as much CPU as one may here; `work` is what a worker is to do."""

    def __init__(self, work: bytes) -> None:
        super().__init__()
        self.work = work


def light_s(turn: Turn, of_shared_s: float) -> float:
    """Seconds of CPU that a query may take in this process now."""
    return of_shared_s if turn.is_shared else of_shared_s * ALONE_TIMES


class Meter:
    """The CPU that a query takes in this process, and how much it may.

    is_on_loop: it is computed where it is, as long as it takes little and waits for nothing.
    least_s: seconds that it has shown to take where that was more than it might; else 0.
    """

    def __init__(self, turn: Turn, spent: Cost) -> None:
        self._turn = turn
        self._spent = spent
        self._light_s = NEVER
        self._pack: Callable[[], bytes | None] = lambda: None
        self._thread = 0
        self._began_s = self._began_wall_s = 0.0
        self._loop_ends_s = NEVER
        self._asked_s = time.monotonic()
        self._has_begun = False
        self.is_on_loop = False
        self.least_s = 0.0

    def bound(self, light_s: float, pack: Callable[[], bytes | None]) -> None:
        """From here on the query may take `light_s`, unless it cannot be packed."""
        self._light_s, self._pack = light_s, pack

    async def run(self, work: Callable[[], T], /) -> T:
        """What `work` returns, in a turn; on the event loop it may be begun and then begun anew."""
        if self.is_on_loop:
            self._turn.count()
            self._loop_ends_s = time.monotonic() + ON_LOOP_S_MAX
            may_wait = MAY_WAIT.set(False)
            try:
                return self._timed(work)
            except WouldWait:
                self.is_on_loop = False
            finally:
                self._loop_ends_s = NEVER
                MAY_WAIT.reset(may_wait)
        return await self._turn.run(partial(self._timed, work))

    def _timed(self, work: Callable[[], T]) -> T:
        self._began_wall_s = time.monotonic()
        if not self._has_begun:
            self._has_begun = True
            self._spent.wait_s = self._began_wall_s - self._asked_s
        self._thread, self._began_s = threading.get_ident(), time.thread_time()
        try:
            return work()
        finally:
            self._spent.cpu_s += time.thread_time() - self._began_s
            self._thread = 0

    def checkpoint(self) -> None:
        """As a turn's; raises Heavy and WouldWait, too."""
        if self._loop_ends_s != NEVER:
            is_over = time.monotonic() > self._loop_ends_s
            if is_over and time.thread_time() - self._began_s > ON_LOOP_S_MAX:
                self.least_s = UNKNOWN_S
                raise WouldWait
            return
        self._turn.checkpoint()
        if self._light_s == NEVER or threading.get_ident() != self._thread:
            return
        # CPU takes at least as long; a thread's own clock is a system call, this one is none
        if self._spent.cpu_s + time.monotonic() - self._began_wall_s <= self._light_s:
            return
        used_s = self._spent.cpu_s + time.thread_time() - self._began_s
        if used_s > light_s(self._turn, self._light_s):
            work, self._light_s = self._pack(), NEVER
            if work is not None:
                self.least_s = NEVER
                raise Heavy(work)


class Weights:
    """What queries are expected to take, from their texts and from what was seen of them."""

    def __init__(self, store: Store, light_s: float = LIGHT_S) -> None:
        self._store = store
        self.light_s = light_s
        self._least_s: dict[tuple[UUID, int], float] = {}  # the oldest first

    def takes(self, tenant: UUID, text: str, least_s: float) -> None:
        """The same text is expected to take as much when it comes again."""
        while len(self._least_s) >= REMEMBERED:
            del self._least_s[next(iter(self._least_s))]
        self._least_s[tenant, hash(text)] = least_s

    def of_questions(self, tenant: UUID, text: str, questions: Sequence[Question]) -> float:
        """Seconds of CPU for questions, whose texts are `text`."""

        def estimate(index: SeriesIndex) -> float:
            return sum(cost.expected_s(question.planned(), index) for question in questions)

        return self._expected_s(tenant, text, len(questions), estimate)

    def of_series(self, tenant: UUID, text: str, selectors: Selectors, series_s: float) -> float:
        """Seconds of CPU to list series that `selectors` select, whose texts are `text`; of each
        series `series_s`. All there are need no worker, which would have to read them first.
        """

        def estimate(index: SeriesIndex) -> float:
            if not selectors.texts:
                return min(UNKNOWN_S, cost.listed_s((), index, cost.NAMED_S))
            return sum(cost.listed_s(one, index, series_s) for one in selectors.parse())

        return self._expected_s(tenant, text, 1, estimate)

    def _expected_s(
        self, tenant: UUID, text: str, texts: int, estimate: Callable[[SeriesIndex], float]
    ) -> float:
        if len(text) > PARSED_CHARS_MAX * texts:
            return NEVER
        least_s = self._least_s.get((tenant, hash(text)), 0.0)
        index = self._store.catalogue.index(tenant)
        # A long text would hold up the event loop already where it is read.
        is_long = len(text) > LOOP_CHARS_MAX or may_be_large(text)
        if index is None or index.is_busy or is_long:
            return max(least_s, UNKNOWN_S)
        with contextlib.suppress(BadRequest, QueryError):
            least_s = max(least_s, estimate(index))
        return least_s  # what has errors is told so where it is answered
