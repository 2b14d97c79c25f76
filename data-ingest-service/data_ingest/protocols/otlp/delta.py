"""Counters of delta temporality, made cumulative: what each data point adds is added up.

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
from typing import Final, TypeAlias

from prometheus_client import Counter

OUT_OF_ORDER: Final = "delta_out_of_order"
EVICTED: Final = Counter(
    "cloudopshub_ingest_otlp_delta_evicted_total",
    "Delta series whose total was dropped to make room: each starts again at zero.",
)


Point: TypeAlias = tuple[bytes, int, int, float]
"""Key of the series, start (0: not given) and end in ns, value."""
Added: TypeAlias = list[float | None]
_POINT: Final = struct.Struct("<QQd")


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
            self._points += len(added)
            while self._points > self.points_max and len(self._by_request) > 1:
                self._points -= len(self._by_request.popitem(last=False)[1])

    def settle(self, request: bytes) -> None:
        with self._lock:
            self._points -= len(self._by_request.pop(request, ()))


@dataclass(slots=True)
class DeltaTotals:
    """The totals of at most `series_max` series. The tenant with most of them makes room, with
    those not written for longest.
    """

    series_max: int
    _tenants: "dict[bytes, OrderedDict[bytes, tuple[int, float]]]" = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unsettled: _Unsettled = field(init=False)

    def __post_init__(self) -> None:
        self._unsettled = _Unsettled(self.series_max)

    def add(self, tenant: bytes, points: list[Point]) -> tuple[Added, Callable[[], None]]:
        """The total of each series after each of its points, None for a point that is refused; and
        what is to be called once they are stored: until then, the same points have the same totals.
        """
        digest = hashlib.blake2b(tenant, digest_size=16)
        for key, *rest in points:
            digest.update(key + _POINT.pack(*rest))
        request = digest.digest()
        with self._lock:
            if (added := self._unsettled.get(request)) is None:
                totals = self._tenants.setdefault(tenant, OrderedDict())
                added = [_add(totals, *point) for point in points]
                if not totals:
                    del self._tenants[tenant]
                self._make_room()
                self._unsettled.put(request, added)
        return added, lambda: self._unsettled.settle(request)

    def _make_room(self) -> None:
        over = sum(map(len, self._tenants.values())) - self.series_max
        while over > 0:
            tenant, totals = max(self._tenants.items(), key=lambda item: len(item[1]))
            fair = self.series_max // len(self._tenants)
            dropped = min(over, len(totals) - fair)
            for _ in range(dropped):
                totals.popitem(last=False)
            if not totals:
                del self._tenants[tenant]
            EVICTED.inc(dropped)
            over -= dropped


def _add(
    totals: "OrderedDict[bytes, tuple[int, float]]",
    key: bytes,
    start_ns: int,
    end_ns: int,
    value: float,
) -> float | None:
    last_ns, total = totals.get(key, (0, 0.0))
    if end_ns == last_ns:
        return total
    if end_ns < last_ns or 0 < start_ns < last_ns or math.isnan(value):
        return None
    total += value
    totals[key] = end_ns, total
    totals.move_to_end(key)
    return total
