"""Progress that people can watch: never more than one write a second, never a step back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from analysis_processing.model import Progress

INTERVAL_S = 1.0
ETA_AFTER_S = 1.0


@dataclass(slots=True)
class Reporter:
    """Passes the parts done on when that is due, with the seconds left at the speed so far.

    write: stores a Progress. clock: seconds that only grow.
    """

    write: Callable[[Progress], Awaitable[None]]
    clock: Callable[[], float]
    _total: int = field(init=False, default=0)
    _done: int = field(init=False, default=0)
    _done_before: int = field(init=False, default=0)
    _began_s: float = field(init=False, default=0.0)
    _written_s: float = field(init=False, default=float("-inf"))

    def start(self, total: int, done: int) -> None:
        """There are so many parts, so many of them done by an earlier attempt."""
        self._total, self._done, self._done_before = total, done, done
        self._began_s = self.clock()

    async def step(self, message: str, parts: int = 0) -> None:
        """So many more parts are done; written if the last write is a second old."""
        now_s = self.clock()
        self._done = min(self._done + parts, self._total)
        if now_s - self._written_s < INTERVAL_S:
            return
        self._written_s = now_s
        await self.write(Progress(self._done, self._total, message, self._eta_s(now_s)))

    def _eta_s(self, now_s: float) -> int | None:
        elapsed_s = now_s - self._began_s
        by_now = self._done - self._done_before
        if by_now == 0 or elapsed_s < ETA_AFTER_S:
            return None
        return round(elapsed_s * (self._total - self._done) / by_now)
