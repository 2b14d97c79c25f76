"""What stays in memory of a tenant between queries."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog

from data_api.store.block import BlockRef
from data_api.store.head import BatchRef, Head
from data_api.store.history import FORGOTTEN, StoreIdentity, reason_to_forget
from data_api.store.postings import SeriesIndex

log = structlog.get_logger()


def covers(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    """Whether all of `inner` is in `outer`; both ends inclusive."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


NO_TIME: Final = (1, 0)
ALL_TIME: Final = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one query reads; nothing in it changes but `index`, to which series are added.

    head: of batches beyond its budget, only the samples that the query's picker selects.
    """

    index: SeriesIndex
    head: Head
    blocks: tuple[BlockRef, ...]  # as `in_time` orders them
    rollups: tuple[BlockRef, ...] = ()  # lowest precedence first


@dataclass(slots=True)
class TenantState:
    """What was read of a tenant and stays between queries; changed only under `lock`.

    name, series_name: of what is there to be read (`tables.NAME`), when all of this was read and
    when its series were; "" where it must be read again. asked_s: before that was asked for.
    blocks: those that reach into `listed`; the head has all batches that reach into `decoded`.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    index: SeriesIndex = field(default_factory=SeriesIndex)
    head: Head = field(default_factory=Head)
    live: dict[int, BatchRef] = field(default_factory=dict)
    series_watermark: int = 0
    batch_watermark: int = 0
    series_deletions: int = 0
    identity: StoreIdentity | None = None
    used_s: float = 0.0
    name: str = ""
    series_name: str = ""
    blocks: tuple[BlockRef, ...] = ()
    rollups: tuple[BlockRef, ...] = ()
    listed: tuple[int, int] = NO_TIME
    decoded: tuple[int, int] = NO_TIME
    asked_s: float = 0.0

    def shows(self, name: str, span: tuple[int, int], since_s: float) -> bool:
        """Whether all of `span` is here as the store is while it has this name, or as it was at
        `since_s` (monotonic) or later.
        """
        is_new = self.name != "" and (self.name == name or self.asked_s > since_s)
        return is_new and covers(self.listed, span) and covers(self.decoded, span)

    def shown(self, span: tuple[int, int], head: Head) -> Snapshot:
        """What of it overlaps `span`."""
        blocks, rollups = overlapping(self.blocks, span), overlapping(self.rollups, span)
        return Snapshot(self.index, head, blocks, rollups)

    def compare(self, row: Mapping[str, Any]) -> str:
        """As `reason_to_forget`; the store of `row` is the known one from here on."""
        watermark = max(self.series_watermark, self.batch_watermark)
        reason = reason_to_forget(row, self.identity, watermark)
        self.identity = StoreIdentity.of(row)
        return reason

    def list_batches(self, row: Mapping[str, Any]) -> str:
        """The live batches are those of a row of `tables.LISTING`; or why that cannot be."""
        self.name, self.decoded = "", NO_TIME
        live = {one: self.live[one] for one in row["older_ids"] if one in self.live}
        if len(live) < len(row["older_ids"]):
            return "unknown_batches"
        columns = ("xids", "ids", "min_ts", "max_ts", "samples", "histogram_bytes")
        for ref in map(BatchRef, *(row[name] for name in columns)):
            live[ref.batch_id] = ref
        self.live, self.batch_watermark = live, row["xmin"]
        return ""

    def list_blocks(self, row: Mapping[str, Any], span: tuple[int, int]) -> None:
        """The live blocks that reach into `span` are those of a row of `tables.LISTING`."""
        self.listed = span
        names = (
            "ids", "precedences", "min_ts", "max_ts", "samples", "bytes", "keys", "digests",
            "resolutions",
        )  # fmt: skip
        blocks = map(BlockRef, *(row[f"block_{name}"] for name in names))
        ordered = sorted(blocks, key=lambda block: (block.precedence, block.block_id))
        self.blocks = in_time(block for block in ordered if not block.resolution_ms)
        self.rollups = tuple(block for block in ordered if block.resolution_ms)

    def reset(self, tenant_id: UUID, reason: str) -> None:
        """Everything read of the tenant so far is dropped, and it is said so."""
        FORGOTTEN.labels(reason).inc()
        log.warning("store_epoch_changed", tenant=str(tenant_id), reason=reason)
        self.live, self.head, self.batch_watermark, self.name = {}, Head(), 0, ""
        self.index, self.series_watermark, self.series_name = SeriesIndex(), 0, ""


def overlapping(blocks: Sequence[BlockRef], span: tuple[int, int]) -> tuple[BlockRef, ...]:
    """Those that reach into `span`, in their order."""
    return tuple(one for one in blocks if one.min_ts <= span[1] and one.max_ts >= span[0])


def in_time(blocks: Iterable[BlockRef]) -> tuple[BlockRef, ...]:
    """Each before all that are wholly later; those that reach into one another stay in their order,
    which is that of precedence. What is merged in this order is mostly sorted.
    """
    apart: list[list[tuple[int, BlockRef]]] = []
    last_ms = 0
    for place, block in sorted(enumerate(blocks), key=lambda item: item[1].min_ts):
        if not apart or block.min_ts > last_ms:
            apart.append([])
            last_ms = block.max_ts
        apart[-1].append((place, block))
        last_ms = max(last_ms, block.max_ts)
    return tuple(block for together in apart for _, block in sorted(together))
