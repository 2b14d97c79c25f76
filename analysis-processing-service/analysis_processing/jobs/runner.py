"""One claimed job from its query to its stored result, in the worker's child process.

    windows of das as Arrow ─▶ block ─▶ prepare ─▶ chunks ─▶ compute ─▶ written back ─▶ stored
                        counters become rates      │  many at once; threads or Dask   │
                                                   └──── an equal part is stored? ────┴─▶ conclude

No kind of analysis is known by name. Everything may be done again from any point: a part is stored
under its number with a digest of what it was computed from, once nothing of it waits to be written
back; what may not be written any more is refused by the claim's token.
"""

import importlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import numpy as np
import structlog
from sqlalchemy import Connection, Engine

from analysis_processing.analyses import find
from analysis_processing.analyses.block import Block, SeriesResult, progress
from analysis_processing.chassis.kinds import Kind, ServiceError
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.data_ingest import DataIngest
from analysis_processing.clients.together import together
from analysis_processing.frames import Grid
from analysis_processing.jobs import chunks, claims, parts
from analysis_processing.jobs.chunks import Chunk, Outcome, Question
from analysis_processing.jobs.counters import take_rate
from analysis_processing.jobs.database import transaction
from analysis_processing.jobs.executors import ChunkLost, Executor
from analysis_processing.jobs.progress import Reporter
from analysis_processing.jobs.write_back import WriteBack
from analysis_processing.model import Claim, Labels, Progress
from analysis_processing.settings import Settings

log = structlog.get_logger()
RETRIED = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.RATE_LIMITED})
LOSSES_MAX = 2
"""Workers that a chunk may take with it before it is split; a half may take none."""
NO_SAMPLES = "no samples in this range"
LOST = f"{chunks.NOT_JUDGED}: the process that computed it was lost"
NOTES_MAX = 20


@dataclass(slots=True)
class Work:
    """One run of a job: what is asked of which series, and what has come of it so far.

    series: results by number of their part, without columns.
    """

    claim: Claim
    executor: Executor
    progress: Reporter
    block: Block
    is_rate: list[bool]
    points: int
    question: Question
    write_back: WriteBack
    series: dict[int, list[SeriesResult]] = field(default_factory=dict)


Act = Callable[[Work, Chunk], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs claims. data_api, data_ingest: the tenant's doors to the other services."""

    engine: Engine
    clock: claims.TimeOf
    settings: Settings
    monotonic: Callable[[], float]
    data_api: Callable[[Claim], DataApi]
    data_ingest: Callable[[Claim], DataIngest]
    executor: Callable[[], AbstractAsyncContextManager[Executor]]
    _database: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def run(self, claim: Claim) -> None:
        """The claim is out of our hands: the job succeeded, failed, or waits for another attempt.

        Raises LeaseLost when somebody else has it, DatabaseUnavailable when its end cannot be
        written: the lease will run out.
        """
        try:
            async with self.executor() as executor:
                await self._run(claim, executor)
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

    async def _run(self, claim: Claim, executor: Executor) -> None:
        async def write(progress: Progress) -> None:
            await self._in_transaction(lambda db, _now: claims.report(db, claim, progress))

        reporter = Reporter(write, self.monotonic)
        block, is_rate, silent = await self._load(claim, reporter)
        work = await anyio.to_thread.run_sync(
            self._prepared, claim, executor, reporter, block, is_rate
        )
        planned = await anyio.to_thread.run_sync(chunks.plan, block, is_rate, work.question)
        last = planned[-1].number + 2
        await self._spread(work, planned)
        if silent:
            noted = chunks.noted(block, silent, NO_SAMPLES)
            await self._store(work, Chunk(last, 0, 0, b""), noted, b"")
        await work.write_back.finish()
        summary = await anyio.to_thread.run_sync(self._concluded, work)
        await self._in_transaction(
            lambda db, now: claims.succeed(
                db,
                claim,
                now,
                chunks=last + 1 if silent else last,
                summary=summary,
                written_series=work.write_back.names,
                warning="; ".join(work.write_back.warnings) or None,
            )
        )
        counts = {name: summary[name] for name in ("series", "judged", "points", "findings")}
        log.info(
            "job_succeeded", job=str(claim.job.id), warnings=work.write_back.warnings, **counts
        )

    async def _load(
        self, claim: Claim, reporter: Reporter
    ) -> tuple[Block, list[bool], list[Labels]]:
        """The block, which of its series are rates of counters, and the series without samples."""
        request, bounds = claim.job.request, self.settings
        grid = Grid(
            request.steps,
            series_max=bounds.series_max,
            points_max=bounds.points_max,
            bytes_max=bounds.block_bytes_max,
        )

        async def report(steps: int) -> None:
            await reporter.step(f"read {steps} of {request.steps} steps of {len(grid.rows)} series")

        await reporter.step("reading series")
        data_api = self.data_api(claim)
        await data_api.read(request, grid, report)
        is_named = any('"__name__"' in name for name in grid.rows)
        types = await data_api.types() if is_named else {}
        convert = partial(take_rate, step_ms=request.step_ms, types=types)
        ordered = await anyio.to_thread.run_sync(grid.ordered, convert)
        labels, values, is_rate, silent = ordered
        return Block(labels, request.start_ms, request.step_ms, values), is_rate, silent

    def _prepared(
        self,
        claim: Claim,
        executor: Executor,
        reporter: Reporter,
        block: Block,
        is_rate: list[bool],
    ) -> Work:
        request = claim.job.request
        analysis = find(request.kind)
        module = importlib.import_module(analysis.module)
        prepare = getattr(module, "prepare", None)

        def tell(message: str) -> None:
            anyio.from_thread.check_cancelled()
            anyio.from_thread.run(reporter.step, message)

        progress.set(tell)
        context = None if prepare is None else prepare(block, request.params)
        points = sum(int(np.count_nonzero(~np.isnan(row))) for row in block.values)
        question = Question.of(analysis, request, context)
        write_back = WriteBack(
            self.data_ingest(claim),
            self.settings.write_back_samples_max,
            [*claim.job.written_series],
        )
        return Work(claim, executor, reporter, block, is_rate, points, question, write_back)

    async def _spread(self, work: Work, planned: list[Chunk]) -> None:
        """Every chunk has its part: those that are there, the many at once, the suspects alone."""

        def read(db: Connection) -> tuple[Counter[str], dict[int, bytes]]:
            return Counter(parts.suspects(db, work.claim)), parts.digests(db, work.claim)

        losses, digests = await self._read(read)
        waiting: list[Chunk] = []
        suspects: list[Chunk] = []
        lost: list[Chunk] = []
        pieces = self._split_by(work, planned, losses)
        for chunk in pieces:
            count = losses[chunk.digest.hex()]
            if work.write_back.is_done(chunk, digests.get(chunk.number)):
                stored = partial(parts.series_of, claim=work.claim, number=chunk.number)
                work.series[chunk.number] = await self._read(stored)
            elif count >= (1 if chunk.is_half else LOSSES_MAX):
                lost.append(chunk)
            else:
                (suspects if count or chunk.is_half else waiting).append(chunk)
        work.progress.start(total=len(pieces), done=len(work.series))

        async def each(some: Iterable[Chunk], act: Act) -> None:
            for chunk in some:
                await act(work, chunk)
                done = f"analysed {len(work.series)} of {len(pieces)} parts"
                await work.progress.step(done, parts=1)

        await each(lost, self._give_up)
        queue = iter(waiting)
        await together([partial(each, queue, self._part)] * work.executor.in_flight)
        await each(suspects, self._part)

    @staticmethod
    def _split_by(work: Work, planned: list[Chunk], losses: Counter[str]) -> list[Chunk]:
        pieces: list[Chunk] = []
        for chunk in planned:
            is_split = losses[chunk.digest.hex()] >= LOSSES_MAX and chunk.last - chunk.first > 1
            pieces += (
                chunks.halves(chunk, work.block, work.is_rate, work.question)
                if is_split
                else [chunk]
            )
        return pieces

    async def _part(self, work: Work, chunk: Chunk) -> None:
        """The chunk is computed, its series are written back, its part is stored."""
        await self._in_transaction(lambda db, _now: parts.begin(db, work.claim, chunk.digest))
        rows = work.block.rows(chunk.first, chunk.last)
        is_rate = work.is_rate[chunk.first : chunk.last]
        key = f"{work.claim.job.id}-{chunk.digest.hex()}"
        try:
            outcome = await work.executor.run(key, work.question, rows, is_rate)
        except ChunkLost:
            log.warning("chunk_lost", job=str(work.claim.job.id), series=chunk.last - chunk.first)
            if chunk.is_half or chunk.last - chunk.first == 1:
                await self._give_up(work, chunk)
            else:
                for half in chunks.halves(chunk, work.block, work.is_rate, work.question):
                    await self._part(work, half)
            return
        await self._store(work, chunk, outcome, await work.write_back.take(chunk, outcome))

    async def _give_up(self, work: Work, chunk: Chunk) -> None:
        labels = work.block.labels[chunk.first : chunk.last]
        noted = chunks.noted(work.block, labels, LOST)
        await self._store(work, chunk, noted, chunk.digest)

    async def _store(self, work: Work, chunk: Chunk, outcome: Outcome, digest: bytes) -> None:
        store = partial(parts.store, digest=digest, written_series=work.write_back.names)
        await self._in_transaction(lambda db, _now: store(db, work.claim, chunk, outcome))
        work.series[chunk.number] = outcome.series

    @staticmethod
    def _concluded(work: Work) -> dict[str, Any]:
        """The summary: what every job counts, and what this kind concludes."""
        series = [one for number in sorted(work.series) for one in work.series[number]]
        notes = Counter(one.note for one in series if one.note is not None)
        findings = sum(len(one.findings) for one in series)
        judged, troubled = len(series) - notes.total(), sum(bool(one.findings) for one in series)
        common = notes.most_common(NOTES_MAX)
        summary: dict[str, Any] = {
            "series": len(series),
            "judged": judged,
            "points": work.points,
            "findings": findings,
            "notes": [{"note": note, "series": count} for note, count in common],
            "sentence": f"{findings:,} finding{'' if findings == 1 else 's'} in {troubled:,} of "
            f"{judged:,} series judged",
        }
        conclude = getattr(importlib.import_module(work.question.module), "conclude", None)
        if conclude is not None:
            summary |= conclude(series, work.question.params, work.question.context)
        if judged == 0:
            summary["sentence"] = f"None of {len(series):,} series was judged: {common[0][0]}"
        return summary

    async def _end(self, claim: Claim, error: str, *, again: bool) -> None:
        def end(db: Connection, now: Any) -> None:
            if again:
                claims.try_again(db, claim, now, error, self.settings.attempts_max)
            else:
                claims.fail(db, claim, now, error)

        await self._in_transaction(end)

    async def _read(self, read: Callable[[Connection], Any]) -> Any:
        def work() -> Any:
            with transaction(self.engine) as db:
                return read(db)

        return await anyio.to_thread.run_sync(work, limiter=self._database)

    async def _in_transaction(self, act: Callable[[Connection, Any], None]) -> None:
        await self._read(lambda db: act(db, self.clock(db)))
