"""Which queries are heavy: expected to be, or seen to be.

    expected above LIGHT_S ──────────────────────────▶ worker
    else: begins here ─ LIGHT_S of CPU at a checkpoint ─▶ Heavy ─▶ worker, and so the next time

Of a tenant that is alone, ALONE_TIMES as much is light: it disturbs nobody, and the service's own
caches are the larger ones. What cannot move stays.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar
from uuid import UUID

from data_api import cost
from data_api.errors import BadRequest, QueryError
from data_api.model import Cost
from data_api.questions import LOOP_CHARS_MAX, PARSED_CHARS_MAX, Question, Selectors, may_be_large
from data_api.store.reader import Store
from data_api.turns import Turn

T = TypeVar("T")
LIGHT_S: Final = 0.1
ALONE_TIMES: Final = 20
FEW_SERIES: Final = 100  # nothing that is asked of them is worth an estimate
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
    """The CPU that a query takes in this process, and how much it may."""

    def __init__(self, turn: Turn, spent: Cost) -> None:
        self._turn = turn
        self._spent = spent
        self._light_s = NEVER
        self._pack: Callable[[], bytes | None] = lambda: None
        self._thread = 0
        self._began_s = 0.0
        self._asked_s = time.monotonic()
        self._has_begun = False

    @contextlib.contextmanager
    def bounded(self, light_s: float, pack: Callable[[], bytes | None]) -> Iterator[None]:
        """In the block the query may take `light_s`, unless it cannot be packed."""
        self._light_s, self._pack = light_s, pack
        try:
            yield
        finally:
            self._light_s = NEVER

    async def run(self, work: Callable[[], T], /) -> T:
        """What `work` returns, in a turn."""

        def timed() -> T:
            if not self._has_begun:
                self._has_begun = True
                self._spent.wait_s = time.monotonic() - self._asked_s
            self._thread, self._began_s = threading.get_ident(), time.thread_time()
            self._began_wall_s = time.monotonic()
            try:
                return work()
            finally:
                self._spent.cpu_s += time.thread_time() - self._began_s
                self._thread = 0

        return await self._turn.run(timed)

    def checkpoint(self) -> None:
        """As a turn's; raises Heavy, too."""
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
                raise Heavy(work)


class Weights:
    """What queries are expected to take, from their texts and from what was seen of them."""

    def __init__(self, store: Store, light_s: float = LIGHT_S) -> None:
        self._store = store
        self.light_s = light_s
        self._heavy: dict[tuple[UUID, int], None] = {}  # the oldest first

    def was_heavy(self, tenant: UUID, text: str) -> None:
        """The same text is heavy from the beginning when it comes again."""
        while len(self._heavy) >= REMEMBERED:
            del self._heavy[next(iter(self._heavy))]
        self._heavy[tenant, hash(text)] = None

    def of_questions(self, tenant: UUID, text: str, questions: Sequence[Question]) -> float:
        """Seconds of CPU for questions, whose texts are `text`."""
        index = self._store.catalogue.index(tenant)
        if self._is_heavy(tenant, text, len(questions)):
            return NEVER
        if index is None or len(index) < FEW_SERIES or _is_long(text):
            return 0.0
        with contextlib.suppress(BadRequest, QueryError):
            return sum(cost.expected_s(question.planned(), index) for question in questions)
        return 0.0  # some have errors, which are told where they are answered

    def of_series(self, tenant: UUID, text: str, selectors: Selectors, series_s: float) -> float:
        """Seconds of CPU to list series that `selectors` select, whose texts are `text`; of each
        series `series_s`. Without selectors the index has the names as they are.
        """
        index = self._store.catalogue.index(tenant)
        if self._is_heavy(tenant, text, 1):
            return NEVER
        if index is None or _is_long(text):
            return 0.0
        with contextlib.suppress(BadRequest, QueryError):
            return sum(cost.listed_s(one, index, series_s) for one in selectors.parse())
        return 0.0

    def _is_heavy(self, tenant: UUID, text: str, texts: int) -> bool:
        return len(text) > PARSED_CHARS_MAX * texts or (tenant, hash(text)) in self._heavy


def _is_long(text: str) -> bool:
    """Whether reading the text would hold up the event loop."""
    return len(text) > LOOP_CHARS_MAX or may_be_large(text)
