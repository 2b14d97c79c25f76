"""Deltas of counters and histograms, made cumulative: what each data point adds is added up.

    data point (start, end] of a series, last end L, total T
      end > L, and start ≥ L or not given ─▶ T + value      a gap adds nothing
      end = L                             ─▶ T again         the request was sent a second time
      else, or the value is NaN           ─▶ refused         it would count something twice

A request that is not stored, and comes again or is decoded again, gets the totals it had, whatever
came between. The totals are this process's own and have a bound. A series that was dropped, or
another process, starts again at zero: a counter reset, which `rate` and `increase` take as what it
is. Two processes that take turns with one series would reset it every time, so its sender must
stick to one.
Source: OpenTelemetry specification, metrics/data-model.md, "Sums: delta-to-cumulative".
"""

import hashlib
import math
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from prometheus_client import Counter

from data_ingest.protocols.native_histogram import InvalidHistogram, added

OUT_OF_ORDER: Final = "delta_out_of_order"
EVICTED: Final = Counter(
    "cloudopshub_ingest_otlp_delta_evicted_total",
    "Delta series whose total was dropped to make room: each starts again at zero.",
)


Point: TypeAlias = tuple[bytes, int, int, Any]
"""Key of the series, start (0: not given) and end in ns, value: a number, or the data point of an
exponential histogram that is valid.
"""
Added: TypeAlias = list[Any]
"""Totals, numbers or data points; None for one that is refused."""
_TIMES: Final = struct.Struct("<QQ")


@dataclass(slots=True)
class _Unsettled:
    """What became of requests that are not stored yet, so that each can come again."""

    points_max: int
    _by_request: "OrderedDict[bytes, Added]" = field(default_factory=OrderedDict)
    _points: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, request: bytes) -> Added | None:
        with self._lock:
            return self._by_request.get(request)

    def put(self, request: bytes, added: Added) -> None:
        """Kept until `settle`, the oldest only while there is room."""
        with self._lock:
            self._by_request[request] = added
            self._points += sum(map(_size, added))
            while self._points > self.points_max and len(self._by_request) > 1:
                self._points -= sum(map(_size, self._by_request.popitem(last=False)[1]))

    def settle(self, request: bytes) -> None:
        with self._lock:
            self._points -= sum(map(_size, self._by_request.pop(request, ())))


@dataclass(slots=True)
class DeltaTotals:
    """The totals of at most `series_max` series, of which each bucket of an exponential histogram
    is one. The tenant with most of them makes room, with those not written for longest.
    """

    series_max: int
    _tenants: "dict[bytes, _Totals]" = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unsettled: _Unsettled = field(init=False)

    def __post_init__(self) -> None:
        self._unsettled = _Unsettled(self.series_max)

    def add(self, tenant: bytes, points: list[Point]) -> tuple[Added, Callable[[], None]]:
        """The total of each series after each of its points, None for a point that is refused; and
        what is to be called once they are stored: until then, the same points have the same totals.
        """
        digest = hashlib.blake2b(tenant, digest_size=16)
        for key, start_ns, end_ns, value in points:
            value_bytes = (
                struct.pack("<d", value) if isinstance(value, float) else value.SerializeToString()
            )
            digest.update(key + _TIMES.pack(start_ns, end_ns) + value_bytes)
        request = digest.digest()
        with self._lock:
            if (sums := self._unsettled.get(request)) is None:
                totals = self._tenants.setdefault(tenant, _Totals())
                sums = [totals.add(*point) for point in points]
                if not totals.by_key:
                    del self._tenants[tenant]
                self._make_room()
                self._unsettled.put(request, sums)
        return sums, lambda: self._unsettled.settle(request)

    def _make_room(self) -> None:
        while sum(totals.size for totals in self._tenants.values()) > self.series_max:
            tenant, totals = max(self._tenants.items(), key=lambda item: item[1].size)
            totals.drop_oldest()
            EVICTED.inc()
            if not totals.by_key:
                del self._tenants[tenant]


@dataclass(slots=True)
class _Totals:
    """Of one tenant: last end and total of each series, those not written for longest first."""

    by_key: "OrderedDict[bytes, tuple[int, Any]]" = field(default_factory=OrderedDict)
    size: int = 0

    def add(self, key: bytes, start_ns: int, end_ns: int, value: Any) -> Any:
        """The total with this point, None where it is refused."""
        last_ns, total = self.by_key.get(key, (0, None))
        if end_ns == last_ns:
            return total
        is_number = isinstance(value, float)
        is_nan = math.isnan(value if is_number else value.sum)
        if end_ns < last_ns or 0 < start_ns < last_ns or is_nan:
            return None
        try:
            new = (total or 0.0) + value if is_number else added(total, value)
        except InvalidHistogram:
            return None
        self.size += _size(new) - (_size(total) if key in self.by_key else 0)
        self.by_key[key] = end_ns, new
        self.by_key.move_to_end(key)
        return new

    def drop_oldest(self) -> None:
        """The series not written for longest has no total."""
        _, (_, total) = self.by_key.popitem(last=False)
        self.size -= _size(total)


def _size(total: Any) -> int:
    """As how many series a total counts."""
    if isinstance(total, float) or total is None:
        return 1
    return 1 + len(total.positive.bucketCounts) + len(total.negative.bucketCounts)
