"""The metric store of one tenant, as tests write it and read it back."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from data_ingest import batch
from data_ingest.background import compaction
from data_ingest.background.compaction import CompactionSettings
from data_ingest.batch import Columns
from data_ingest.store import block, catalogue
from data_ingest.store.objects import DirectoryObjects
from data_ingest.store.partitions import ensure_partitions
from tests.stored_values import STALE_BITS

HOUR_MS = 3_600_000
NOW_MS = 1_795_000_000_000
AT_ONCE = CompactionSettings(
    delay_s=-60.0, samples_max=2_000_000, block_bytes_max=512 * 1024 * 1024
)
"""Every batch is due, also when the machine's clock is set back between its commit and the run."""


class Store:
    """The metric store of one tenant, as a test writes and reads it."""

    def __init__(self, conn: asyncpg.Connection, objects: DirectoryObjects) -> None:
        self.conn = conn
        self.objects = objects
        self.tenant = uuid.uuid4()

    async def commit(
        self, *rows: tuple[int, int, float], received_at: datetime | None = None
    ) -> None:
        """One batch of (series_id, timestamp_ms, value) in one transaction."""
        ids, times, values = zip(*rows, strict=True)
        await self.commit_columns(
            Columns(
                np.array(ids, np.int64), np.array(times, np.int64), np.array(values, np.float64)
            ),
            received_at,
        )

    async def commit_columns(self, samples: Columns, received_at: datetime | None = None) -> None:
        await self.conn.execute(
            "INSERT INTO metrics.batch (tenant_id, min_ts, max_ts, samples, payload, received_at)"
            " VALUES ($1, $2, $3, $4, $5, coalesce($6, clock_timestamp()))",
            self.tenant,
            int(samples.timestamps_ms.min()),
            int(samples.timestamps_ms.max()),
            len(samples),
            batch.pack(samples),
            received_at,
        )

    async def compact(self, conn: asyncpg.Connection | None = None) -> int:
        return await compaction.compact_batches(
            conn or self.conn, self.objects, self.tenant, AT_ONCE
        )

    async def merge(self, now_ms: int = NOW_MS) -> bool:
        """All groups that are due are merged; whether there was one."""
        return await merge_all(self.conn, self.objects, self.tenant, now_ms)

    async def read(self) -> dict[tuple[int, int], int]:
        """(series, timestamp) → bits, as das sees it: blocks by precedence, then batches."""
        seen: dict[tuple[int, int], int] = {}
        rows = await self.conn.fetch(
            "SELECT object_key, tail_sha256 FROM metrics.block"
            " WHERE tenant_id = $1 AND replaced_by IS NULL ORDER BY precedence",
            self.tenant,
        )
        for row in rows:
            with self.objects.reading(row["object_key"]) as source:
                for piece in block.read(source, row["tail_sha256"]):
                    ids = np.repeat(piece.series_ids, np.diff(piece.starts))
                    _add(seen, Columns(ids, piece.timestamps_ms, piece.values))
        for row in await self.conn.fetch(
            "SELECT payload FROM metrics.batch"
            " WHERE tenant_id = $1 AND compacted_by IS NULL ORDER BY xid, batch_id",
            self.tenant,
        ):
            _add(seen, batch.unpack(row["payload"]))
        return seen

    async def used(self) -> int:
        """Samples of all hours."""
        return int(
            await self.conn.fetchval(
                "SELECT coalesce(sum(samples), 0) FROM metrics.usage_hour WHERE tenant_id = $1",
                self.tenant,
            )
        )

    async def blocks(self) -> Any:
        return await self.conn.fetch(
            "SELECT * FROM metrics.block"
            " WHERE tenant_id = $1 AND replaced_by IS NULL ORDER BY min_ts, precedence",
            self.tenant,
        )


async def merge_all(conn: Any, objects: DirectoryObjects, tenant: uuid.UUID, now_ms: int) -> bool:
    """All groups of blocks that are due are merged; whether there was one."""
    merged = False
    while await compaction.merge_blocks(conn, objects, tenant, AT_ONCE, now_ms):
        merged = True
    return merged


def _add(seen: dict[tuple[int, int], int], samples: Columns) -> None:
    bits = np.ascontiguousarray(samples.values).view(np.uint64)
    for series_id, at, value in zip(
        samples.series_ids.tolist(), samples.timestamps_ms.tolist(), bits.tolist(), strict=True
    ):
        if value != STALE_BITS or (series_id, at) not in seen:
            seen[series_id, at] = value


@contextlib.asynccontextmanager
async def opened_store(database: str, folder: Path) -> AsyncIterator[Store]:
    conn = await catalogue.connect(database, "test")
    await ensure_partitions(conn, datetime.now(UTC))
    try:
        yield Store(conn, DirectoryObjects(folder))
    finally:
        await conn.close()


async def stored_samples(url: str) -> list[tuple[dict[str, str], int, float]]:
    """Every sample in the order of arrival: labels, time in ms, value."""
    conn = await asyncpg.connect(url)
    batches = await conn.fetch("SELECT payload FROM metrics.batch ORDER BY batch_id")
    rows = await conn.fetch("SELECT series_id, labels FROM metrics.series")
    await conn.close()
    labels = {row["series_id"]: json.loads(row["labels"]) for row in rows}
    unpacked = [batch.unpack(row["payload"]) for row in batches]
    return [
        (dict(labels[series_id]), timestamp_ms, value)
        for one in unpacked
        for series_id, timestamp_ms, value in zip(
            one.series_ids.tolist(), one.timestamps_ms.tolist(), one.values.tolist(), strict=True
        )
    ]
