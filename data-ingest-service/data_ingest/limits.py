"""What may be stored: samples a second, times, and descriptions of metrics."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import numpy.typing as npt

from data_ingest.model import I64, MetricMetadata

DAY_MS = 86_400_000
CLOCK_STEP_S = 5.0
"""Requests that overtake one another differ by less."""
BUCKETS_MAX = 100_000
TOO_OLD = "too_old"
TOO_NEW = "too_far_in_future"
METADATA_NOT_KEPT = "metadata_not_kept"
INVALID_HISTOGRAM = "invalid_histogram"
INVALID_EXEMPLAR = "invalid_exemplar"
METADATA_NAME_BYTES_MAX = 1024
"""A name is in an index of Postgres, whose rows have at most 2,704 bytes."""
METADATA_TEXT_MAX = 4096


@dataclass(slots=True)
class TokenBucket:
    """Samples a second, with a burst.

        level + rate × seconds passed (at most `burst`) - samples taken

    A request larger than the burst passes when the bucket is full, and takes the level below zero:
    the requests after it wait until it is above again.
    """

    rate_per_s: float
    burst: float
    level: float = 0.0
    at_s: float = float("-inf")

    def take(self, samples: int, now_s: float, spare: float = 0.0) -> float:
        """0.0 when taken; else the seconds until this many may pass, and nothing is taken.

        spare: what must be left to take after it.
        """
        if now_s < self.at_s - CLOCK_STEP_S:
            self.at_s = now_s  # the clock was set back; waiting for its old time would refuse all
        self.level = min(self.burst, self.level + self.rate_per_s * max(0.0, now_s - self.at_s))
        self.at_s = max(self.at_s, now_s)
        needed = min(samples + spare, self.burst)
        if self.level < needed:
            return (needed - self.level) / self.rate_per_s
        self.level -= samples
        return 0.0

    def give_back(self, samples: int) -> None:
        """Samples that were taken and could not be stored may be taken again."""
        self.level = min(self.burst, self.level + samples)


class RateLimits:
    """A bucket for each tenant whose plan has a rate; those not used for longest are dropped."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[UUID, TokenBucket] = OrderedDict()

    def take(
        self,
        tenant: UUID,
        rate: tuple[float, float],
        samples: int,
        now_s: float,
        spare: float = 0.0,
    ) -> float:
        """0.0 when the samples may pass; else the seconds to wait. rate: samples/s, burst."""
        bucket = self._buckets.get(tenant)
        if bucket is None or (bucket.rate_per_s, bucket.burst) != rate:
            bucket = self._buckets[tenant] = TokenBucket(*rate)
        self._buckets.move_to_end(tenant)
        while len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(samples, now_s, spare)

    def give_back(self, tenant: UUID, samples: int) -> None:
        """Samples that were taken and not stored may be taken again."""
        if samples and (bucket := self._buckets.get(tenant)):
            bucket.give_back(samples)


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
