"""How many series of a tenant are active, over all writers and over restarts.

    each writer, once a minute and tenant ─▶ metrics.active_series: the ids it saw in the window
    a writer about to make new series ─────▶ union of these, and the series made since

A new series is one without a row, so what is counted before it is made is the same for all. Series
that two writers make at one instant may pass the limit by what is in flight.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import anyio.to_thread
import cramjam
import numpy as np

from data_ingest.model import I64
from data_ingest.store import tables

RECOUNT_S: Final = 60.0
TENANTS_MAX: Final = 100_000


@dataclass(slots=True)
class _Count:
    """active: as of `counted_s` (monotonic), and the series made since, up to `last_series_id`."""

    active: int
    last_series_id: int
    counted_s: float


class ActiveSeries:
    """The counts of all tenants, as one writer knows them. `conn`: inside its transaction."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._writer = uuid4()
        self._counts: OrderedDict[UUID, _Count] = OrderedDict()

    def forget(self) -> None:
        """Nothing is known of what the store holds."""
        self._counts.clear()

    async def report(self, conn: Any, tenant: UUID, series_ids: I64) -> None:
        """Other writers count these (ascending) as active while they are in the window."""
        packed = await anyio.to_thread.run_sync(pack_ids, series_ids)
        await conn.execute(tables.REPORT_ACTIVE, tenant, self._writer, packed)

    async def count(self, conn: Any, tenant: UUID) -> int:
        """Active series of the tenant, those of this transaction not among them."""
        count = self._counts.get(tenant)
        if count is None or time.monotonic() - count.counted_s > RECOUNT_S:
            count = self._counts[tenant] = await self._count_anew(conn, tenant)
            while len(self._counts) > TENANTS_MAX:
                self._counts.popitem(last=False)
        else:
            made = await conn.fetchval(tables.SERIES_SINCE, tenant, count.last_series_id)
            count.active += len(made)
            count.last_series_id = max(made, default=count.last_series_id)
        return count.active

    async def _count_anew(self, conn: Any, tenant: UUID) -> _Count:
        last_series_id = await conn.fetchval(tables.LAST_SERIES_ID)
        reports = await conn.fetch(tables.ACTIVE_REPORTS, tenant, self._window_s)
        since = min((row["last_series_id"] for row in reports), default=last_series_id)
        made = await conn.fetchval(tables.SERIES_SINCE, tenant, since)
        packed = [row["series_ids"] for row in reports]
        active = await anyio.to_thread.run_sync(_count_distinct, packed, made)
        return _Count(active, last_series_id, time.monotonic())


def pack_ids(ascending: I64) -> bytes:
    """Series ids as zstd of their differences (int64, little-endian): about a byte each."""
    deltas = np.diff(ascending, prepend=0).astype("<i8")
    return bytes(cramjam.zstd.compress(deltas.tobytes(), level=1))


def unpack_ids(packed: bytes) -> I64:
    """What `pack_ids` was given."""
    return np.cumsum(np.frombuffer(bytes(cramjam.zstd.decompress(packed)), "<i8"), dtype=np.int64)


def _count_distinct(packed: Sequence[bytes], more: Sequence[int]) -> int:
    parts = [np.array(more, np.int64), *(unpack_ids(one) for one in packed)]
    return int(np.unique(np.concatenate(parts)).size)
