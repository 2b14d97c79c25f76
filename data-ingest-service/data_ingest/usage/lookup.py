"""What the blocks of a tenant have of the samples that a run is about to store.

What cannot be looked up (a block that is corrupt or gone, or more than the budget of a run) counts
as stored, as far as it lies in the block's time: nothing is billed twice.
"""

from collections.abc import Sequence
from typing import Final

import structlog
from prometheus_client import Counter

from data_ingest.chassis.objects import ObjectStoreUnavailable
from data_ingest.errors import BadPayload
from data_ingest.kernels.counting import COUNTED, STORED
from data_ingest.model import U8
from data_ingest.store.block import SortedSamples
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.usage.counting import Budget, Span, mark_block

TIMESTAMPS_MAX: Final = 200_000_000
"""Decoded in one run: about a second of CPU."""

log = structlog.get_logger()
NOT_LOOKED_UP: Final = Counter(
    "cloudopshub_usage_blocks_not_looked_up_total",
    "Blocks whose whole time was taken as stored when usage was counted, by why.",
    ["why"],
)


class StoredSamples:
    """The live blocks of a tenant, as one compaction run asks them."""

    def __init__(self, objects: ObjectStore, blocks: Sequence[BlockRef]) -> None:
        self._objects = objects
        self._blocks = blocks
        self._budget = Budget(TIMESTAMPS_MAX)

    def mark(self, piece: SortedSamples, span: Span, marks: U8) -> None:
        """What the blocks have of `piece`, in `span`, is marked."""
        for ref in self._blocks:
            if ref.min_ts > span[1] or ref.max_ts < span[0]:
                continue
            try:
                with self._objects.reading(ref.object_key) as source:
                    block = BlockTimes(source, ref.tail_sha256)
                    if mark_block(piece, span, block, marks, self._budget):
                        continue
                why = "budget"
            except BadPayload:
                why = "corrupt"
            except ObjectStoreUnavailable as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise  # the run fails and comes again
                why = "missing"
            NOT_LOOKED_UP.labels(why).inc()
            log.warning("usage_not_looked_up", block_id=ref.block_id, why=why)
            times = piece.timestamps_ms
            marks[(times >= ref.min_ts) & (times <= ref.max_ts)] = STORED | COUNTED
