"""Whether compaction gets on, as /ready tells it: no paths, no tenants, the log has those.

round ended ─┬─ runs failed ─────────── not ok: which errors
             ├─ oldest batch too old ── not ok: something holds it back (an open transaction)
             └─ else ────────────────── ok
round failed, or none has ended for long ── not ok
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from data_ingest.chassis.kinds import Kind, ServiceError

LATE_S: Final = 900.0
"""How much older than it may be a batch gets before compaction counts as behind."""
ROUND_S_MAX: Final = 1800.0
"""Twice what one run may take."""


class CompactionBehind(ServiceError):
    """Compaction does not get on"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Round:
    """What one round over all tenants came to.

    is_behind: the next one is due now. failures: the error's name for each run that failed.
    oldest_batch_s: the age of the oldest batch that is in no block; 0.0 without one.
    """

    is_behind: bool
    failures: Sequence[str]
    oldest_batch_s: float
    quarantined: int


@dataclass(slots=True)
class CompactionHealth:
    """What the last rounds came to; clock_s: any clock that never goes back, in seconds."""

    batch_age_s_max: float
    clock_s: Callable[[], float] = time.monotonic
    _last: Round | None = None
    _failure: str = ""
    _ended_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._ended_s = self.clock_s()

    def ended(self, last: Round) -> None:
        """A round has ended."""
        self._last, self._failure, self._ended_s = last, "", self.clock_s()

    @contextlib.contextmanager
    def noting_failure(self) -> Iterator[None]:
        """An error that leaves the block is why no round ended."""
        try:
            yield
        except Exception as error:
            self._failure = type(error).__name__
            raise

    async def check(self) -> str:
        """A readiness detail; raises CompactionBehind."""
        if self._failure:
            raise CompactionBehind(detail=f"the last round failed: {self._failure}")
        silent_s = self.clock_s() - self._ended_s
        if silent_s > ROUND_S_MAX:
            raise CompactionBehind(detail=f"no round has ended for {silent_s:.0f} s")
        if self._last is None:
            return "no round has ended yet"
        if failures := self._last.failures:
            names = ", ".join(sorted(set(failures)))
            raise CompactionBehind(detail=f"{len(failures)} runs of the last round failed: {names}")
        if self._last.oldest_batch_s > self.batch_age_s_max:
            raise CompactionBehind(
                detail="a batch is not in a block yet",
                age_s=round(self._last.oldest_batch_s),
                limit_s=round(self.batch_age_s_max),
            )
        return f"the last round had no failure; {self._last.quarantined} blocks are quarantined"
