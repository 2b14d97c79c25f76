"""Works imports off: claim, read piece by piece, store, note the progress, finish.

Each piece is stored before its progress is noted. A worker that dies in between leaves a piece that
is stored again by the next: the same (series, timestamp) is stored once and billed once, and the
import's own counts have it once.
"""

import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import anyio.to_thread
import asyncpg
import pyarrow as pa
import structlog

from data_ingest.admission import series_text
from data_ingest.background.supervisor import Stop
from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.errors import BadBody
from data_ingest.imports import pieces, tables, text
from data_ingest.imports.options import Options, parse
from data_ingest.imports.pieces import MALFORMED_ROW, Decoded, Piece
from data_ingest.model import Outcome, SampleBatch
from data_ingest.pipeline import Pipeline
from data_ingest.resolution import RESOLUTION_LOWERED
from data_ingest.store import catalogue, imports
from data_ingest.store.imports import Job
from data_ingest.store.objects import ObjectStore

POLL_S: Final = 1.0
RENEW_S: Final = 5.0
RETRY_S_MAX: Final = 60.0
BATCH_SAMPLES: Final = 50_000
REPORT_MAX: Final = 1_000
SERIES_SHOWN: Final = 10
TEXT_MAX: Final = 300
PASSING: Final = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT})

log = structlog.get_logger()


@dataclass(slots=True)
class _Step:
    """What became of one piece."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.accepted += outcome.accepted
        self.refused.update(outcome.refused)
        if outcome.lowered:
            self.refused[RESOLUTION_LOWERED] += outcome.lowered
        self.examples = {**outcome.examples, **self.examples}


@dataclass(frozen=True, slots=True)
class Worker:
    """Imports, one after another; several may run, in any process."""

    database_url: str
    objects: ObjectStore
    objects_url: str
    pipeline: Pipeline

    async def run(self, stop: Stop) -> None:
        """Returns after `stop`; raises what the connection raises: the lease then runs out."""
        async with catalogue.connected(self.database_url, "imports") as conn:
            while not stop.is_set:
                if job := await imports.claim(conn):
                    await self._work(conn, job, stop)
                elif await stop.wait(POLL_S):
                    return

    async def _work(self, conn: Any, job: Job, stop: Stop) -> None:
        """The import has ended, or is anybody's again."""
        state, error, pause_s = "failed", "", 0.0
        try:
            if job.attempts > imports.ATTEMPTS_MAX:
                error = f"its worker died or failed again and again after row {job.progress.rows}"
            else:
                await _Run(self, conn, job, stop).to_its_end()
                state = "succeeded" if job.progress.accepted else "failed"
                error = "" if job.progress.accepted else "no sample could be stored"
        except _Ended as end:
            state = str(end)
        except ServiceError as exc:
            error = str(exc)
            if exc.kind in PASSING and job.attempts < imports.ATTEMPTS_MAX:
                state, pause_s = "queued", min(RETRY_S_MAX, 2.0**job.attempts)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            raise
        except Exception:
            log.exception("import_failed", import_id=str(job.import_id))
            error = "an unexpected error; the log of the service has it under the import's id"
        if state == "lost":
            return
        left = state, _shown(error), pause_s
        await conn.execute(imports.LEAVE, job.import_id, job.claim, *left)
        if state != "queued":
            await anyio.to_thread.run_sync(self.objects.delete, job.object_key)
            log.info("import_ended", import_id=str(job.import_id), state=state, reason=error)


class _Ended(Exception):
    """The run ends before its upload: `cancelled`, `queued` again, or `lost` to another worker."""


class _Run:
    """One worker's way through one upload."""

    def __init__(self, worker: Worker, conn: Any, job: Job, stop: Stop) -> None:
        self._worker = worker
        self._conn = conn
        self._job = job
        self._stop = stop
        self._options = parse(job.options, job.content_type)
        self._renewed_s = time.monotonic()

    async def to_its_end(self) -> None:
        """All of the upload is stored or refused; raises _Ended where the run ends before."""
        read = _pieces(self._worker, self._job, self._options)
        try:
            while piece := await anyio.to_thread.run_sync(next, read, None):
                last_row = piece.first_row + piece.rows - 1
                if last_row > self._job.progress.rows:
                    step = _Step()
                    decoded = await anyio.to_thread.run_sync(_decoded, piece, self._options)
                    await self._store(decoded.batch, step)
                    await self._advance(piece, decoded, step)
                await self._go_on()
        finally:
            await anyio.to_thread.run_sync(read.close)

    async def _store(self, batch: SampleBatch, step: _Step) -> None:
        """All of the batch is stored or refused."""
        job, pipeline = self._job, self._worker.pipeline
        tenant, unlimited = job.sender.tenant, replace(job.limits, samples_per_s=None)
        for part in _parts(batch, job.limits.burst_samples or job.limits.samples_per_s):
            if self._options.is_dry_run:
                dry = partial(pipeline.admitted, job.sender, part, job.limits)
                step.add(await anyio.to_thread.run_sync(dry))
                continue
            while wait_s := await pipeline.take_spare_rate(tenant, job.limits, part.samples):
                await self._stop.wait(min(wait_s, RENEW_S))
                await self._go_on()
            step.add(
                await pipeline.ingest(
                    tenant, part, unlimited, "import", sender=job.sender, is_history=True
                )
            )
            await self._go_on()

    async def _go_on(self) -> None:
        """The run may go on; else _Ended. The lease is renewed from time to time."""
        if self._stop.is_set:
            raise _Ended("queued")
        if time.monotonic() - self._renewed_s < RENEW_S:
            return
        self._renewed_s = time.monotonic()
        is_cancelled = await self._conn.fetchval(
            imports.RENEW, self._job.import_id, self._job.claim
        )
        if is_cancelled is not False:
            raise _Ended("lost" if is_cancelled is None else "cancelled")

    async def _advance(self, piece: Piece, decoded: Decoded, step: _Step) -> None:
        progress = self._job.progress
        report = list(_report(piece, decoded, step))[: REPORT_MAX - progress.reported]
        progress.rows, progress.bytes = piece.first_row + piece.rows - 1, piece.bytes_read
        progress.accepted += step.accepted
        progress.reported += len(report)
        progress.refused = dict(step.refused + Counter(progress.refused))
        rows = range(min(len(decoded.batch.keys), SERIES_SHOWN))
        shown = [*progress.series, *(_shown(series_text(decoded.batch, row)) for row in rows)]
        progress.series = list(dict.fromkeys(shown))[:SERIES_SHOWN]
        await imports.advance(self._conn, self._job, report)


def _pieces(worker: Worker, job: Job, options: Options) -> Generator[Piece]:
    """The upload in pieces; errors of what it holds are BadBody."""
    if options.format == "parquet":
        yield from tables.parquet_pieces(worker.objects_url, job.object_key, job.bytes, options)
        return
    try:
        with worker.objects.reading(job.object_key) as source:
            upload = pieces.Upload(source)
            yield from (
                tables.csv_pieces(upload, options)
                if options.format == "csv"
                else pieces.lines(upload)
            )
    except (pa.ArrowException, OSError, KeyError, ValueError, MemoryError) as exc:
        raise BadBody(detail=f"it is not {options.format}: {exc}"[:1000]) from exc


def _decoded(piece: Piece, options: Options) -> Decoded:
    decode = {"ndjson": text.decode_ndjson, "openmetrics": text.decode_openmetrics}
    return decode.get(options.format, tables.decode_table)(piece, options)


def _parts(batch: SampleBatch, burst: int | None) -> Iterator[SampleBatch]:
    """The batch in parts that a transaction, and the plan's burst, have room for."""
    size = BATCH_SAMPLES if burst is None else max(1, min(BATCH_SAMPLES, burst // 4))
    for start in range(0, max(1, batch.samples), size):
        part = slice(start, start + size)
        counts: Mapping[str, Any] = {} if start == 0 else {"refused": {}, "metadata": ()}
        yield replace(
            batch,
            series_of=batch.series_of[part],
            timestamps_ms=batch.timestamps_ms[part],
            values=batch.values[part],
            **counts,
        )


def _report(piece: Piece, decoded: Decoded, step: _Step) -> Iterator[dict[str, Any]]:
    """Rows that cannot be read; then what else was refused of the piece, by reason."""
    for fault in sorted(decoded.faults, key=lambda fault: fault.row):
        why = {"why": _shown(fault.why), "text": _shown(fault.text)}
        yield {"row": fault.row, "reason": MALFORMED_ROW, "count": 1, **why}
    for reason, samples in step.refused.items():
        if reason != MALFORMED_ROW:
            why = {"why": _shown(step.examples.get(reason, "")), "text": ""}
            rows = {"row": piece.first_row, "last_row": piece.first_row + piece.rows - 1}
            yield {**rows, "reason": reason, "count": samples, **why}


def _shown(text: str) -> str:
    return text[:TEXT_MAX].replace("\0", "�")
