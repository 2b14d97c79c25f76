"""A cache of immutable values under a byte budget; the least recently used leave first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prometheus_client import Counter, Gauge

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOOKUPS: Final = Counter(
    "cloudopshub_cache_lookups_total", "Cache lookups by their outcome.", ["cache", "outcome"]
)
BYTES: Final = Gauge("cloudopshub_cache_bytes", "Bytes that a cache holds.", ["cache"])

MAY_WAIT: Final = ContextVar("may_wait", default=True)
"""Whether whoever asks may wait until a value is made: the event loop may not."""


class WouldWait(Exception):
    """What takes long, like making a value, is not done where nobody may wait for it."""


@dataclass(slots=True)
class _Making:
    """A value being made by one thread while others wait for it."""

    lock: threading.Lock
    waiters: int = 0


class ByteCache(Generic[K, V]):
    """A thread-safe LRU map whose values have a size; each is made once even under contention."""

    def __init__(self, name: str, bytes_max: int, size: Callable[[V], int]) -> None:
        self._name = name
        self._bytes_max = bytes_max
        self._size = size
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._making: dict[K, _Making] = {}
        self._lock = threading.Lock()
        self._hits = LOOKUPS.labels(name, "hit")  # `labels` costs more than the look-up
        self._misses = LOOKUPS.labels(name, "miss")
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`; made by `make`, by one thread only, when it is not there.

        Raises WouldWait instead of making it where MAY_WAIT says so.
        """
        with self._lock:
            entry = self._values.get(key)
            if entry is not None:
                self._values.move_to_end(key)
                self._hits.inc()
                return entry[0]
            if not MAY_WAIT.get():
                raise WouldWait
            making = self._making.setdefault(key, _Making(threading.Lock()))
            making.waiters += 1
        try:
            with making.lock:
                with self._lock:
                    entry = self._values.get(key)
                if entry is not None:
                    self._hits.inc()
                    return entry[0]
                self._misses.inc()
                value = make()
                self._put(key, value)
                return value
        finally:
            with self._lock:
                making.waiters -= 1
                if not making.waiters:
                    self._making.pop(key, None)

    def _put(self, key: K, value: V) -> None:
        """`value` is cached, unless it is too large; older ones leave until the budget is met."""
        size = self._size(value)
        if size > self._bytes_max:
            return
        with self._lock:
            self._values[key] = (value, size)
            self.nbytes += size
            while self.nbytes > self._bytes_max:
                _, (_, freed) = self._values.popitem(last=False)
                self.nbytes -= freed
            BYTES.labels(self._name).set(self.nbytes)
