"""Which metrics were described lately: OTLP says name, unit and description in every request."""

import threading
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import numpy as np

from data_ingest.kernels import table
from data_ingest.model import I64, U64

REMEMBERED_MAX: Final = 1 << 14
"""Metrics of all tenants, and of one request."""
REMEMBERED_MS: Final = 600_000
"""A description comes again after at most so long."""


@dataclass(slots=True)
class DescribedMetrics:
    """The metrics whose description was stored in this interval."""

    _rows: U64 = field(default_factory=lambda: np.zeros((2 * REMEMBERED_MAX, 4), np.uint64))
    _used: int = 0
    _interval: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new(self, keys: I64, tenant: UUID, now_ms: int) -> list[int]:
        """Which of the first REMEMBERED_MAX keys are not known, each key once."""
        lanes = _lanes(keys, tenant)
        ids = np.zeros(len(lanes), np.int64)
        with self._lock:
            if now_ms // REMEMBERED_MS == self._interval:
                table.find(self._rows, lanes, np.uint64(0), ids)
        new = np.flatnonzero(ids == 0)
        _, first = np.unique(lanes[new, 0], return_index=True)
        places: list[int] = new[np.sort(first)].tolist()
        return places

    def add(self, keys: I64, tenant: UUID, now_ms: int) -> None:
        """The first REMEMBERED_MAX keys are known until the interval of `now_ms` ends."""
        lanes = _lanes(keys, tenant)
        ones = np.ones(len(lanes), np.int64)
        with self._lock:
            interval = now_ms // REMEMBERED_MS
            if interval != self._interval or self._used + len(lanes) > REMEMBERED_MAX:
                self._rows[:], self._used, self._interval = 0, 0, interval
            self._used += int(table.insert(self._rows, lanes, ones, np.uint64(0)))


def _lanes(keys: I64, tenant: UUID) -> U64:
    lanes = np.ascontiguousarray(keys[:REMEMBERED_MAX]).view(np.uint64)
    return lanes ^ np.frombuffer(tenant.bytes, np.uint64)
