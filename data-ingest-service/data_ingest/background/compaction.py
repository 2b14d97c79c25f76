"""Compaction: live batches become blocks, small blocks become larger ones.

    lock tenant ─▶ list ─▶ plan ─▶ load, sort, write objects ─▶ register + mark + count ─▶ commit
    └──────────────────────────────── one transaction ─────────────────────────────────────────┘

An object is durable before its row is written, and rows change in one commit: a kill at any step
leaves the old state and perhaps an object without a row, which the sweep deletes. The transaction
has no xid until its last statements, so it holds back no reader's watermark while it works.
Source: docs/contracts.md, section 3; docs/adr/0004-compaction.md.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio
import numpy as np
import pyarrow as pa
import structlog
from prometheus_client import Counter, Gauge, Histogram

from data_ingest import batch, histograms
from data_ingest.background import compaction_plan as plan
from data_ingest.background.compaction_health import Round
from data_ingest.batch import Columns
from data_ingest.chassis.kinds import ServiceError
from data_ingest.histograms import NO_MESSAGES, Messages
from data_ingest.model import I64
from data_ingest.retention.series import Reach
from data_ingest.store import catalogue
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BatchRef
from data_ingest.store.rewriting import CorruptBlock, write_block, write_merged
from data_ingest.store.sorting import sort_and_deduplicate
from data_ingest.usage import record
from data_ingest.usage.counting import Counting, minutes_of
from data_ingest.usage.lookup import StoredSamples

T = TypeVar("T")

RUN_TIMEOUT_S: Final = 900.0
"""Far below the age at which the sweep takes an object without a row for an orphan."""
PAYLOADS_AT_ONCE: Final = 64
MERGES_A_ROUND: Final = 16
"""Of one tenant, so that the backlog of one does not keep the batches of others waiting."""

log = structlog.get_logger()
RUNS: Final = Counter(
    "cloudopshub_compaction_runs_total", "Compaction runs by what they made.", ["kind", "outcome"]
)
SAMPLES: Final = Counter(
    "cloudopshub_compaction_samples_total", "Samples read by compaction.", ["kind"]
)
BYTES: Final = Counter(
    "cloudopshub_compaction_written_bytes_total", "Bytes of blocks written.", ["kind"]
)
DURATIONS: Final = Histogram(
    "cloudopshub_compaction_duration_seconds",
    "Time of one run, from lock to commit.",
    ["kind"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
BACKLOG_BATCHES: Final = Gauge(
    "cloudopshub_compaction_backlog_batches", "Batches that are not in a block yet."
)
BACKLOG_SAMPLES: Final = Gauge(
    "cloudopshub_compaction_backlog_samples", "Samples that are not in a block yet."
)
OLDEST_BATCH: Final = Gauge(
    "cloudopshub_compaction_oldest_batch_seconds", "Age of the oldest batch not in a block yet."
)
FAILED_RUNS: Final = Gauge(
    "cloudopshub_compaction_failed_runs", "Runs of the last round that failed."
)
QUARANTINED: Final = Gauge(
    "cloudopshub_blocks_quarantined", "Blocks that are kept and not merged: they are corrupt."
)


@dataclass(frozen=True, slots=True)
class CompactionSettings:
    """When and how much (see `settings`); the sizes bound the memory of a run."""

    delay_s: float
    samples_max: int
    block_bytes_max: int


async def compact_due(
    conn: Any,
    objects: ObjectStore,
    settings: CompactionSettings,
    now_ms: Callable[[], int],
    reach: Reach | None = None,
) -> Round:
    """One round over all tenants: one run of batches each, and up to MERGES_A_ROUND merges each.

    It is behind when a tenant's share was used up, or more than half of it.
    """
    is_behind = False
    failures: list[str] = []
    for tenant in await catalogue.tenants_due(conn, settings.delay_s):
        run = compact_batches(conn, objects, tenant, settings, reach)
        samples = await _measured("batches", conn, tenant, run, failures)
        is_behind |= samples > settings.samples_max // 2
    for tenant in await catalogue.tenants_with_blocks(conn):
        for _ in range(MERGES_A_ROUND):
            run = merge_blocks(conn, objects, tenant, settings, now_ms())
            if not await _measured("blocks", conn, tenant, run, failures):
                break
        else:
            is_behind = True
    batches, samples, oldest_s = await catalogue.backlog(conn)
    BACKLOG_BATCHES.set(batches)
    BACKLOG_SAMPLES.set(samples)
    OLDEST_BATCH.set(oldest_s)
    FAILED_RUNS.set(len(failures))
    quarantined = await catalogue.quarantined(conn)
    QUARANTINED.set(quarantined)
    return Round(is_behind, failures, oldest_s, quarantined)


async def compact_batches(
    conn: Any,
    objects: ObjectStore,
    tenant: UUID,
    settings: CompactionSettings,
    reach: Reach | None = None,
) -> int:
    """The oldest due batches are blocks; how many samples that were.

    0 when none is due or another process compacts this tenant. reach: what `conn` was told of how
    far series reach; None: nothing.
    """
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return 0
        refs = await catalogue.live_batches(conn, tenant, settings.delay_s)
        taken = plan.batches_to_take(
            refs, settings.samples_max, is_complete=len(refs) < catalogue.LISTED_MAX
        )
        if not taken:
            return 0
        xid_max = taken[-1].xid
        samples = await _load(conn, tenant, xid_max, taken)
        span = minutes_of(samples.timestamps_ms)
        stored = StoredSamples(objects, await catalogue.live_blocks(conn, tenant, span))
        counting = Counting(
            [ref.hour_ms for ref in taken], [ref.samples for ref in taken], stored.mark
        )
        blocks, series_ids = await _in_thread(
            write_windows, objects, tenant, samples, xid_max, counting
        )
        remember = await (reach or Reach()).extend(
            conn, tenant, series_ids, max(made.max_ts for made in blocks)
        )
        run_id = await catalogue.next_run(conn)
        await catalogue.register(conn, tenant, run_id, blocks)
        await catalogue.mark_batches(conn, tenant, run_id, xid_max, [ref.batch_id for ref in taken])
        await record.add(conn, tenant, counting.usage)
    remember()
    _record("batches", tenant, run_id, inputs=len(taken), samples=len(samples), blocks=blocks)
    return len(samples)


async def merge_blocks(
    conn: Any, objects: ObjectStore, tenant: UUID, settings: CompactionSettings, now_ms: int
) -> bool:
    """The first group of blocks that is due is one block of the next level, or without the one of
    them that is corrupt, which is quarantined.

    False when none is due or another process compacts this tenant.
    """
    async with conn.transaction():
        if not await catalogue.lock_tenant(conn, tenant):
            return False
        blocks = await catalogue.live_blocks(conn, tenant)
        groups = plan.merges(blocks, now_ms, settings.block_bytes_max)
        if not groups:
            return False
        group = groups[0]
        deleted = await catalogue.deleted_series(conn, tenant)
        try:
            merged = await _in_thread(write_merged, objects, tenant, group, deleted)
        except CorruptBlock as corrupt:
            await _quarantine(conn, tenant, corrupt)
            return True
        run_id = await catalogue.next_run(conn)
        await catalogue.register(conn, tenant, run_id, merged)
        await catalogue.replace_blocks(conn, tenant, run_id, [ref.block_id for ref in group])
    samples = sum(made.samples for made in merged)
    _record("blocks", tenant, run_id, inputs=len(group), samples=samples, blocks=merged)
    return True


async def _quarantine(conn: Any, tenant: UUID, corrupt: CorruptBlock) -> None:
    block_id = corrupt.facts["block_id"]
    await catalogue.quarantine(conn, tenant, block_id)
    log.error("block_quarantined", tenant=str(tenant), block_id=block_id, reason=str(corrupt))


def write_windows(
    objects: ObjectStore, tenant: UUID, samples: Columns, precedence: int, counting: Counting
) -> tuple[list[NewBlock], I64]:
    """One durable level 0 block for each window that has samples, which `counting` has counted; and
    the series, ascending.

    samples: in order of arrival.
    """
    starts, _ = plan.window_starts(samples.timestamps_ms)
    blocks: list[NewBlock] = []
    series: list[I64] = []
    windows = np.unique(starts).tolist()
    for window in windows:
        chosen = slice(None) if len(windows) == 1 else np.flatnonzero(starts == window)
        part = samples.take(chosen)
        piece = sort_and_deduplicate(
            part.series_ids, part.timestamps_ms, part.values, part.histograms
        )
        counting.add(part, chosen, piece)
        series.append(piece.series_ids)
        blocks += write_block(
            objects, tenant, [piece], precedence=precedence, level=0, at_ms=window
        )
    return blocks, series[0] if len(series) == 1 else np.unique(np.concatenate(series))


async def _load(conn: Any, tenant: UUID, xid_max: int, taken: Sequence[BatchRef]) -> Columns:
    """The samples of these batches in their order: xid, batch_id, position."""
    n = sum(ref.samples for ref in taken)
    samples = Columns(np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float64))
    at, messages = 0, [NO_MESSAGES]
    for first in range(0, len(taken), PAYLOADS_AT_ONCE):
        refs = taken[first : first + PAYLOADS_AT_ONCE]
        payloads = await catalogue.payloads(conn, tenant, xid_max, [ref.batch_id for ref in refs])
        loaded = [(payloads.get(ref.batch_id, b""), ref.samples) for ref in refs]
        at = await _in_thread(_fill, samples, at, messages, loaded)
    assert at == n, (at, n)
    return replace(samples, histograms=pa.concat_arrays(messages))


def _fill(
    samples: Columns, at: int, messages: list[Messages], loaded: Sequence[tuple[bytes, int]]
) -> int:
    before = sum(map(len, messages))
    for payload, expected in loaded:
        piece = batch.unpack(payload)
        if len(piece) != expected:
            raise catalogue.Superseded(
                detail="a batch has another size than its row says", row=expected, got=len(piece)
            )
        samples.series_ids[at : at + expected] = piece.series_ids
        samples.timestamps_ms[at : at + expected] = piece.timestamps_ms
        samples.values[at : at + expected] = histograms.shifted(piece.values, before)
        if len(piece.histograms):
            messages.append(piece.histograms)
            before += len(piece.histograms)
        at += expected
    return at


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    """The result of `work`, with the event loop free meanwhile.

    A cancelled caller does not wait for it; an object that `work` still writes is an orphan.
    """
    return await anyio.to_thread.run_sync(functools.partial(work, *args), abandon_on_cancel=True)


async def _measured(
    kind: str, conn: Any, tenant: UUID, run: Awaitable[int], failures: list[str]
) -> int:
    """The result of `run`; 0 when it fails or takes longer than RUN_TIMEOUT_S.

    Counted, logged and added to `failures`; raised only when the connection is closed, so that the
    next tenants go on.
    """
    started_s = time.perf_counter()
    try:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            amount = await run
    except Exception as error:
        RUNS.labels(kind, "failed").inc()
        failures.append(type(error).__name__)
        if conn.is_closed():
            raise
        facts = {"kind": kind, "tenant": str(tenant), "reason": f"{type(error).__name__}: {error}"}
        if isinstance(error, ServiceError | TimeoutError):
            log.warning("compaction_failed", **facts)
        else:
            log.exception("compaction_failed", **facts)
        return 0
    if amount:
        RUNS.labels(kind, "committed").inc()
        DURATIONS.labels(kind).observe(time.perf_counter() - started_s)
    return amount


def _record(
    kind: str, tenant: UUID, run_id: int, *, inputs: int, samples: int, blocks: Sequence[NewBlock]
) -> None:
    written = sum(made.bytes for made in blocks)
    SAMPLES.labels(kind).inc(samples)
    BYTES.labels(kind).inc(written)
    log.info(
        "compacted",
        kind=kind,
        tenant=str(tenant),
        run_id=run_id,
        inputs=inputs,
        blocks=len(blocks),
        samples=samples,
        bytes=written,
    )
