"""Counters of delta temporality, made cumulative: what each data point adds is added up.

    data point (start, end] of a series, last end L, total T
      end > L, and start ≥ L or not given ─▶ T + value      a gap adds nothing
      end = L                             ─▶ T again         the request was sent a second time
      else, or the value is NaN           ─▶ refused         it would count something twice

The totals are this process's own and have a bound. A series that was dropped, or another process,
starts again at zero: a counter reset, which `rate` and `increase` take as what it is. Two processes
that take turns with one series would reset it every time, so its sender must stick to one.
Source: OpenTelemetry specification, metrics/data-model.md, "Sums: delta-to-cumulative".
"""

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter

from data_ingest.protocols.protobuf import FIXED64, fields

OUT_OF_ORDER: Final = "delta_out_of_order"
_START: Final = 2 << 3 | FIXED64
_END: Final = 3 << 3 | FIXED64
EVICTED: Final = Counter(
    "cloudopshub_ingest_otlp_delta_evicted_total",
    "Delta series whose total was dropped to make room: each starts again at zero.",
)


@dataclass(slots=True)
class DeltaTotals:
    """The totals of at most `series_max` series; those not written for longest are dropped."""

    series_max: int
    _totals: "OrderedDict[bytes, tuple[int, float]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, points: list[tuple[bytes, int, int, float]]) -> list[float | None]:
        """The total of each series after each of its points; None for a point that is refused.

        points: key of the series, start (0: not given) and end in ns, value.
        """
        with self._lock:
            return [self._add(*point) for point in points]

    def _add(self, key: bytes, start_ns: int, end_ns: int, value: float) -> float | None:
        last_ns, total = self._totals.get(key, (0, 0.0))
        if end_ns == last_ns:
            return total
        if end_ns < last_ns or 0 < start_ns < last_ns or math.isnan(value):
            return None
        total += value
        self._totals[key] = end_ns, total
        self._totals.move_to_end(key)
        if len(self._totals) > self.series_max:
            self._totals.popitem(last=False)
            EVICTED.inc()
        return total


def point_times_ns(point: bytes) -> tuple[int, int]:
    """Start (0 when not given) and end of a data point."""
    times = {_START: 0, _END: 0}
    for tag, value in fields(point):
        if tag in times and isinstance(value, bytes):
            times[tag] = int.from_bytes(value, "little")
    return times[_START], times[_END]
