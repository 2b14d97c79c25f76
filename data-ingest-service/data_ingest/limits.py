"""What may be stored: times, and descriptions of metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data_ingest.model import I64, MetricMetadata

DAY_MS = 86_400_000
TOO_OLD = "too_old"
TOO_NEW = "too_far_in_future"
METADATA_NOT_KEPT = "metadata_not_kept"
INVALID_HISTOGRAM = "invalid_histogram"
INVALID_EXEMPLAR = "invalid_exemplar"
METADATA_NAME_BYTES_MAX = 1024
"""A name is in an index of Postgres, whose rows have at most 2,704 bytes."""
METADATA_TEXT_MAX = 4096


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Timestamps that can be stored: ms since the epoch, both ends inclusive."""

    min_ms: int
    max_ms: int

    @classmethod
    def at(cls, now_ms: int, retention_days: int | None, future_ms_max: int) -> "TimeSpan":
        """From the tenant's retention (None: from the epoch) to `future_ms_max` after now."""
        oldest_ms = 0 if retention_days is None else max(0, now_ms - retention_days * DAY_MS)
        return cls(oldest_ms, now_ms + future_ms_max)

    def holds(self, timestamps_ms: I64) -> bool:
        """Whether all of them, at least one, can be stored."""
        return bool(timestamps_ms.min() >= self.min_ms and timestamps_ms.max() <= self.max_ms)

    def split(self, timestamps_ms: I64) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
        """Which can be stored, and how many cannot, by reason."""
        old, new = timestamps_ms < self.min_ms, timestamps_ms > self.max_ms
        counts = {TOO_OLD: int(old.sum()), TOO_NEW: int(new.sum())}
        return ~(old | new), {reason: count for reason, count in counts.items() if count}


def storable_metadata(metadata: Sequence[MetricMetadata]) -> tuple[MetricMetadata, ...]:
    """Those that Postgres can hold; help and unit are cut to METADATA_TEXT_MAX characters."""
    return tuple(
        one
        if len(one.help) <= METADATA_TEXT_MAX and len(one.unit) <= METADATA_TEXT_MAX
        else replace(one, help=one.help[:METADATA_TEXT_MAX], unit=one.unit[:METADATA_TEXT_MAX])
        for one in metadata
        if len(one.metric_name.encode()) <= METADATA_NAME_BYTES_MAX
        and "\0" not in one.metric_name + one.help + one.unit
    )
