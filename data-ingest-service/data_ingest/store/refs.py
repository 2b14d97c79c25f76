"""Batches and blocks as the catalogue lists them."""

from dataclasses import dataclass

from data_ingest.chassis.checked import Digest


@dataclass(frozen=True, slots=True)
class BatchRef:
    """A live batch; hour_ms: the start of the hour it was received in.

    histogram_bytes: what its histograms take unpacked.
    """

    batch_id: int
    xid: int
    samples: int
    is_due: bool
    hour_ms: int = 0
    histogram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A live block, or a rollup of a resolution; both times inclusive."""

    block_id: int
    precedence: int
    level: int
    min_ts: int
    max_ts: int
    bytes: int
    created_ms: int
    object_key: str
    tail_sha256: Digest | None = None
    is_quarantined: bool = False
    resolution_ms: int = 0
