"""Compaction: live batches become blocks, small blocks become larger ones.

    lock tenant ─▶ list ─▶ plan ─▶ load, sort, write objects ─▶ register + mark + count ─▶ commit
    └──────────────────────────────── one transaction (`store.runs`) ───────────────────────────┘

Source: docs/contracts.md, section 3; docs/adr/0004-compaction.md.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
import structlog
from prometheus_client import Counter, Gauge

from data_ingest import batch
from data_ingest.background import compaction_plan as plan
from data_ingest.background.compaction_health import Round
from data_ingest.batch import Columns
from data_ingest.model import I64
from data_ingest.retention.series import Reach
from data_ingest.store import catalogue, runs
from data_ingest.store.catalogue import NewBlock
from data_ingest.store.objects import ObjectStore
from data_ingest.store.packing import columns_of
from data_ingest.store.refs import BatchRef
from data_ingest.store.rewriting import write_block
from data_ingest.store.sorting import sort_and_deduplicate
from data_ingest.usage import record
from data_ingest.usage.counting import Counting, minutes_of
from data_ingest.usage.lookup import StoredSamples

LISTED_MAX: Final = 10_000
MERGES_A_ROUND: Final = 16
"""Of one tenant, so that the backlog of one does not keep the batches of others waiting."""

log = structlog.get_logger()
RUNS: Final = Counter(
    "cloudopshub_compaction_runs_total", "Compaction runs by what they made.", ["kind", "outcome"]
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

# A batch stamped over a minute ahead of the clock was stamped before the clock was set back: it is
# due at once, since waiting for its time would hold back all that came after it.
_IS_DUE: Final = """
(received_at < now() - make_interval(secs => $1) OR received_at > now() + interval '1 minute')
"""
_TENANTS_DUE: Final = f"""
SELECT DISTINCT tenant_id FROM metrics.batch WHERE compacted_by IS NULL AND {_IS_DUE}
"""  # noqa: S608 - a condition of ours
_TENANTS_WITH_BLOCKS: Final = """
SELECT tenant_id FROM metrics.block WHERE replaced_by IS NULL AND resolution_ms = 0
 GROUP BY tenant_id HAVING count(*) > 1
"""
_BACKLOG: Final = """
SELECT coalesce(sum(samples), 0) AS samples,
       coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 AS oldest_s,
       (SELECT count(*) FROM metrics.block WHERE quarantined_at IS NOT NULL) AS quarantined
  FROM metrics.batch WHERE compacted_by IS NULL
"""
# Only batches whose xid is below every running transaction.
_LIVE_BATCHES: Final = f"""
SELECT batch_id, xid::text::bigint AS xid, samples, histogram_bytes, {_IS_DUE} AS is_due,
       (extract(epoch FROM date_trunc('hour', received_at, 'UTC')) * 1000)::bigint AS hour_ms
  FROM metrics.batch
 WHERE tenant_id = $2 AND compacted_by IS NULL AND xid < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xid, batch_id LIMIT $3
"""  # noqa: S608 - a condition of ours
_PAYLOADS: Final = """
SELECT batch_id, payload FROM metrics.batch
 WHERE tenant_id = $1 AND compacted_by IS NULL AND xid <= $2::text::xid8
   AND batch_id = ANY($3::bigint[])
"""
_MARK: Final = """
UPDATE metrics.batch SET compacted_by = $4
 WHERE tenant_id = $1 AND compacted_by IS NULL AND xid <= $2::text::xid8
   AND batch_id = ANY($3::bigint[])
"""


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
    for (tenant,) in await conn.fetch(_TENANTS_DUE, settings.delay_s):
        run = compact_batches(conn, objects, tenant, settings, reach)
        samples = await _counted("batches", conn, tenant, run, failures)
        is_behind |= samples > settings.samples_max // 2
    for (tenant,) in await conn.fetch(_TENANTS_WITH_BLOCKS):
        for _ in range(MERGES_A_ROUND):
            run = merge_blocks(conn, objects, tenant, settings, now_ms())
            if not await _counted("blocks", conn, tenant, run, failures):
                break
        else:
            is_behind = True
    backlog = await conn.fetchrow(_BACKLOG)
    BACKLOG_SAMPLES.set(backlog["samples"])
    OLDEST_BATCH.set(backlog["oldest_s"])
    FAILED_RUNS.set(len(failures))
    QUARANTINED.set(backlog["quarantined"])
    return Round(is_behind, failures, backlog["oldest_s"], backlog["quarantined"])


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
        rows = await conn.fetch(_LIVE_BATCHES, settings.delay_s, tenant, LISTED_MAX)
        refs = [BatchRef(**row) for row in rows]
        taken = plan.batches_to_take(refs, settings.samples_max, is_complete=len(refs) < LISTED_MAX)
        if not taken:
            return 0
        xid_max, batch_ids = taken[-1].xid, [ref.batch_id for ref in taken]
        payloads = dict(await conn.fetch(_PAYLOADS, tenant, str(xid_max), batch_ids))
        samples = await runs.in_thread(unpacked, taken, payloads)
        span = minutes_of(samples.timestamps_ms)
        stored = StoredSamples(objects, await catalogue.live_blocks(conn, tenant, span))
        counting = Counting(
            [ref.hour_ms for ref in taken], [ref.samples for ref in taken], stored.mark
        )
        blocks, series_ids = await runs.in_thread(
            write_windows, objects, tenant, samples, xid_max, counting
        )
        remember = await (reach or Reach()).extend(
            conn, tenant, series_ids, max(made.max_ts for made in blocks)
        )
        run_id = await catalogue.exchange(conn, tenant, blocks, ())
        status = await conn.execute(_MARK, tenant, str(xid_max), batch_ids, run_id)
        catalogue.changed(status, len(batch_ids))
        await record.add(conn, tenant, counting)
    remember()
    _record("batches", tenant, run_id, len(taken), len(samples), blocks)
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
        merged = await runs.rewrite(conn, objects, tenant, groups[0])
    if merged:
        run_id, made = merged
        samples = sum(block.samples for block in made)
        _record("blocks", tenant, run_id, len(groups[0]), samples, made)
    return True


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


def unpacked(refs: Sequence[BatchRef], payloads: Mapping[int, bytes]) -> Columns:
    """The samples of these batches in their order: xid, batch_id, position.

    Raises Superseded when one is not there, or has another size than its row says.
    """
    pieces = [batch.unpack(payloads[ref.batch_id]) for ref in refs if ref.batch_id in payloads]
    if list(map(len, pieces)) != [ref.samples for ref in refs]:
        raise catalogue.Superseded(
            detail="batches are gone, or have other sizes than their rows say"
        )
    return columns_of(pieces)


async def _counted(
    kind: str, conn: Any, tenant: UUID, run: Awaitable[int], failures: list[str]
) -> int:
    """The result of `run`; 0 when it fails, which is added to `failures`, or takes too long."""
    amount = 0
    failed = RUNS.labels(kind, "failed")
    async with runs.contained(conn, tenant, "compaction_failed", failed, failures):
        amount = await run
    if amount:
        RUNS.labels(kind, "committed").inc()
    return amount


def _record(  # noqa: PLR0917 - as the log line has them
    kind: str, tenant: UUID, run_id: int, inputs: int, samples: int, blocks: Sequence[NewBlock]
) -> None:
    log.info(
        "compacted", kind=kind, tenant=str(tenant), run_id=run_id, inputs=inputs,
        blocks=len(blocks), samples=samples,
        bytes=sum(made.bytes for made in blocks),
    )  # fmt: skip
