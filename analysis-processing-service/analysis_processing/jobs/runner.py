"""One claimed job from its query to its stored result, in the worker's child process.

    windows of query_range ─▶ grid ─▶ chunks of series ─▶ analysis ─▶ chunk stored ─▶ scores written
         0 … 60 %                          60 … 85 %                                    85 … 100 %

Everything may be done again from the start: chunks are upserted under (job, number), scores have
the same labels and times. What cannot be written is checked by the claim's token.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import anyio.to_thread
import numpy as np
import pandas as pd
import structlog
from sqlalchemy import Connection, Engine

from analysis_processing.analyses.anomaly import run as anomaly
from analysis_processing.chassis.kinds import Kind, ServiceError
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import SCORE_METRIC, DataIngest, score_labels
from analysis_processing.errors import AnalysisError
from analysis_processing.frames import F64, I64, Grid, labels_of
from analysis_processing.jobs import claims, columns
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.progress import Reporter
from analysis_processing.model import Claim, Labels, Progress, Request

log = structlog.get_logger()
CHUNK_SERIES = 64
CHUNK_POINTS = 650_000
RETRIED = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one job may use."""

    series_max: int
    points_max: int
    write_back_samples_max: int
    attempts_max: int


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs claims. data_api, data_ingest: the tenant's doors to the other services."""

    engine: Engine
    clock: claims.TimeOf
    bounds: Bounds
    monotonic: Callable[[], float]
    data_api: Callable[[Claim], DataApi]
    data_ingest: Callable[[Claim], DataIngest]

    async def run(self, claim: Claim) -> None:
        """The claim is out of our hands: the job succeeded, failed, or waits for another attempt.

        Raises LeaseLost when somebody else has it, DatabaseUnavailable when its end cannot be
        written: the lease will run out.
        """
        try:
            await self._run(claim)
        except claims.LeaseLost:
            raise
        except ServiceError as error:
            again = error.kind in RETRIED
            log.warning("job_stopped", job=str(claim.job.id), error=str(error), again=again)
            await self._end(claim, str(error), again=again)
        except Exception as error:
            log.exception("job_broke", job=str(claim.job.id))
            await self._end(
                claim, f"an unexpected {type(error).__name__}; the log has it", again=False
            )

    async def _run(self, claim: Claim) -> None:
        async def write(progress: Progress) -> None:
            await self._in_transaction(lambda db, _now: claims.report(db, claim, progress))

        progress = Reporter(write, self.monotonic)
        request = claim.job.request
        frame = await self._load(claim, progress)
        params = anomaly.AnomalyParams.from_json(request.params, request.step_ms)
        width = chunk_series(frame.shape[0])
        anomalies, points, number = 0, 0, 0
        scores: list[tuple[Labels, I64, F64]] = []
        for first in range(0, frame.shape[1], width):
            part = frame.iloc[:, first : first + width]
            result = await anyio.to_thread.run_sync(anomaly.run, part, params)
            payload = await anyio.to_thread.run_sync(partial(payload_of, result, request))
            series = len(result.names)
            await self._store(claim, number, series, payload)
            anomalies += sum(len(episodes) for episodes in result.anomalies)
            points += int(np.isfinite(result.observed).sum())
            number += 1
            scores += [
                (score_labels(labels_of(name), request.kind, request.query), result.times_ms, row)
                for name, row in zip(result.names, result.score, strict=True)
            ]
            done = min(first + width, frame.shape[1])
            await progress(
                0.6 + 0.25 * done / frame.shape[1], f"analysed {done} of {frame.shape[1]} series"
            )
        written, warning = await self._write_back(claim, scores, progress)
        summary = {"series": frame.shape[1], "points": points, "anomalies": anomalies}
        await self._in_transaction(
            lambda db, now: claims.succeed(
                db,
                claim,
                now,
                chunks=number,
                summary=summary,
                written_series=written,
                warning=warning,
            )
        )
        log.info("job_succeeded", job=str(claim.job.id), warning=warning, **summary)

    async def _load(self, claim: Claim, progress: Reporter) -> pd.DataFrame:
        request = claim.job.request
        grid = Grid(
            request.start_ms,
            request.step_ms,
            request.steps,
            self.bounds.series_max,
            self.bounds.points_max,
        )
        await progress(0.0, "reading series")
        async for window in self.data_api(claim).windows(request):
            grid.add(window.answer)
            done = window.last + 1
            await progress(
                0.6 * done / request.steps,
                f"read {done} of {request.steps} steps of {len(grid.rows)} series",
            )
        return grid.frame()

    async def _write_back(
        self, claim: Claim, scores: list[tuple[Labels, I64, F64]], progress: Reporter
    ) -> tuple[list[str], str | None]:
        """The metric names written, and what went wrong. The result stands either way."""
        if not claim.job.request.params["write_back"]:
            return [], None
        samples = sum(int(np.isfinite(row).sum()) for _, _, row in scores)
        if samples == 0:
            return [], None
        if samples > self.bounds.write_back_samples_max:
            limit = self.bounds.write_back_samples_max
            return [], f"scores not written back: {samples} samples, the limit is {limit}"
        try:
            async for written in self.data_ingest(claim).write(scores):
                await progress(
                    0.85 + 0.15 * written / samples, f"wrote {written} of {samples} scores back"
                )
        except AnalysisError as error:
            log.warning("write_back_failed", job=str(claim.job.id), error=str(error))
            return [], f"scores not written back: {error}"
        return [SCORE_METRIC], None

    async def _store(self, claim: Claim, number: int, series: int, payload: bytes) -> None:
        await self._in_transaction(
            lambda db, _now: claims.store_chunk(db, claim, number, series, payload)
        )

    async def _end(self, claim: Claim, error: str, *, again: bool) -> None:
        def end(db: Connection, now: Any) -> None:
            if again:
                claims.try_again(db, claim, now, error, self.bounds.attempts_max)
            else:
                claims.fail(db, claim, now, error)

        await self._in_transaction(end)

    async def _in_transaction(self, act: Callable[[Connection, Any], None]) -> None:
        def work() -> None:
            with transaction(self.engine) as db:
                act(db, self.clock(db))

        await anyio.to_thread.run_sync(work)


def chunk_series(steps: int) -> int:
    """Series in a chunk: at most CHUNK_SERIES, fewer when the range is long."""
    return max(1, min(CHUNK_SERIES, CHUNK_POINTS // max(steps, 1)))


def payload_of(result: anomaly.Result, request: Request) -> bytes:
    """The chunk's compressed columns."""
    header = {
        "start_ms": request.start_ms,
        "step_ms": request.step_ms,
        "steps": request.steps,
        "series": [
            {"labels": labels_of(name), "anomalies": [asdict(one) for one in episodes]}
            for name, episodes in zip(result.names, result.anomalies, strict=True)
        ],
    }
    blocks = (result.observed, result.expected, result.lower, result.upper, result.score)
    rows = range(len(result.names))
    return columns.encode(
        header, [block[row].astype("<f8").tobytes() for row in rows for block in blocks]
    )
