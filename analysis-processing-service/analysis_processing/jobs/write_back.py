"""What of a job goes back as series: alarms with their part, all other series at its end.

Those others, scores by their old name, go back all or none: none when they are more than a job may
write. They are remembered until then, so a part with some is stored under no digest, and computed
again when its process is lost; parts whose scores were left out are marked, and left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import numpy as np
import structlog

from analysis_processing.analyses.block import Written
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.errors import AnalysisError
from analysis_processing.jobs.chunks import Chunk, Outcome

log = structlog.get_logger()
LEFT_OUT = b"-"
"""Ends the digest of a part whose scores were too many to write back, as all others' then are."""


@dataclass(slots=True)
class WriteBack:
    """One run's. names: the metrics written. warnings: what did not go back, and why.

    A refusal or a service that is away ends all writing; the result of the job stands.
    """

    data_ingest: DataIngest
    samples_max: int
    names: list[str]
    warnings: list[str] = field(default_factory=list)
    _scores: dict[int, list[Written]] | None = field(init=False, default_factory=dict)
    _is_refused: bool = field(init=False, default=False)
    _turn: anyio.Lock = field(init=False, default_factory=anyio.Lock)

    def is_done(self, chunk: Chunk, digest: bytes | None) -> bool:
        """Whether a part that is stored under this digest, if any, is the chunk's."""
        if digest == chunk.digest + LEFT_OUT:
            self._leave_scores_out()
            return True
        return digest == chunk.digest

    async def take(self, chunk: Chunk, outcome: Outcome) -> bytes:
        """The digest to store the part under; its alarms are written."""
        if outcome.scores and self._scores is not None:
            self._scores[chunk.number] = outcome.scores
            every = (one for of_part in self._scores.values() for one in of_part)
            if sum(int(np.isfinite(one.values).sum()) for one in every) > self.samples_max:
                self._leave_scores_out()
        if not await self._write(outcome.alarms):
            return b""
        if not outcome.scores:
            return chunk.digest
        return chunk.digest + LEFT_OUT if self._scores is None else b""

    async def finish(self) -> None:
        """The scores of all parts are written, in the order of their numbers."""
        scores = self._scores or {}
        await self._write([one for number in sorted(scores) for one in scores[number]])

    def _leave_scores_out(self) -> None:
        if self._scores is not None:
            text = f"scores not written back: more than {self.samples_max} samples, the limit"
            self.warnings.append(text)
        self._scores = None

    async def _write(self, series: Sequence[Written]) -> bool:
        async with self._turn:
            if not series or self._is_refused:
                return not series
            try:
                await self.data_ingest.write(series)
            except AnalysisError as error:
                log.warning("write_back_failed", error=str(error))
                self._is_refused = True
                self.warnings.append(f"not written back: {error}")
                return False
            self.names = sorted({one.labels["__name__"] for one in series}.union(self.names))
        return True
