"""What waits for a transaction of the writer: the oldest first, within bounds."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Gauge

from data_ingest.errors import Overloaded, SeriesOutdated, StoreUnavailable
from data_ingest.model import I64
from data_ingest.store.packing import Write
from data_ingest.store.series import Epoch

QUEUED_SAMPLES = Gauge(
    "cloudopshub_ingest_queued_samples", "What waits for a transaction, by weight in samples."
)
QUEUE_WRITES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class WriterBounds:
    """What may wait, what one transaction may hold and how long it may take; see `settings`.

    Samples are bounded by weight: see `Write.weight`.
    """

    queue_samples_max: int
    flush_samples_max: int
    flush_new_series_max: int
    commit_timeout_s: float
    reconnect_delay_s_max: float
    active_window_s: float


@dataclass(slots=True, eq=False)
class Queued:
    """A write and its weight, the epoch of its ids, and who waits for those of its new series."""

    write: Write
    epoch: Epoch | None
    done: asyncio.Future[I64]
    weight: int

    def fail(self, error: Exception) -> None:
        """Who waits gets the error, unless there is an answer already."""
        if not self.done.done():
            self.done.set_exception(error)


class WriteQueue:
    """is_valid: whether ids of a tenant that were looked up in an epoch still are right."""

    def __init__(
        self, bounds: WriterBounds, is_valid: Callable[[UUID, Epoch | None], bool]
    ) -> None:
        self._bounds = bounds
        self._is_valid = is_valid
        self._queue: deque[Queued] = deque()
        self.weight = 0
        QUEUED_SAMPLES.set_function(lambda: self.weight)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, queued: Queued) -> None:
        """It waits; raises `Overloaded` when too much does already."""
        limit = self._bounds.queue_samples_max
        is_over = self.weight + queued.weight > limit
        if self._queue and (is_over or len(self._queue) >= QUEUE_WRITES_MAX):
            raise Overloaded(queued=self.weight, limit=limit, retry_after_s=1)
        self._queue.append(queued)
        self.weight += queued.weight

    def take(self) -> list[Queued]:
        """What the next transaction holds: the oldest first, up to the bounds, at least one."""
        taken: list[Queued] = []
        weight = new = 0
        while self._queue:
            queued = self._queue[0]
            new_series = len(queued.write.new)
            over = (
                weight + queued.weight > self._bounds.flush_samples_max
                or new + new_series > self._bounds.flush_new_series_max
            )
            if taken and over:
                break
            self._queue.popleft()
            self.weight -= queued.weight
            if queued.done.done():
                continue  # its request was cancelled or timed out
            if not self._is_valid(queued.write.tenant, queued.epoch):
                queued.fail(outdated())
                continue
            taken.append(queued)
            weight += queued.weight
            new += new_series
        return taken

    def fail_all(self, trouble: str) -> None:
        """Nothing waits any more; it has failed."""
        while self._queue:
            queued = self._queue.popleft()
            self.weight -= queued.weight
            queued.fail(StoreUnavailable(detail=trouble, retry_after_s=1))


def outdated() -> SeriesOutdated:
    """The error where ids are of another epoch."""
    return SeriesOutdated(detail="its series were deleted, or the store replaced", retry_after_s=1)
