"""Progress that people can watch: never more than one write a second, never a step back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from analysis_processing.model import Progress

INTERVAL_S = 1.0
ETA_AFTER_S = 1.0
TOTAL = 1000


@dataclass(slots=True)
class Reporter:
    """Keeps the share of work done and passes it on when it is due.

    write: stores a Progress. clock: seconds that only grow.
    """

    write: Callable[[Progress], Awaitable[None]]
    clock: Callable[[], float]
    _began_s: float = field(init=False)
    _written_s: float = field(init=False, default=float("-inf"))
    _done: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._began_s = self.clock()

    async def __call__(self, share: float, message: str) -> None:
        """`share` of all the work (0 to 1) is done; written if the last write is a second old."""
        now_s = self.clock()
        self._done = max(self._done, min(int(share * TOTAL), TOTAL))
        if now_s - self._written_s < INTERVAL_S:
            return
        self._written_s = now_s
        await self.write(Progress(self._done, TOTAL, message, self._eta_s(now_s)))

    def _eta_s(self, now_s: float) -> int | None:
        elapsed_s = now_s - self._began_s
        if self._done == 0 or elapsed_s < ETA_AFTER_S:
            return None
        return round(elapsed_s * (TOTAL - self._done) / self._done)
