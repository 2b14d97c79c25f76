"""A cache of immutable values under a byte budget; the least recently used leave first."""

import threading
import time
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

UNREAD_S_MAX: Final = 120.0
"""What nobody read for so long leaves: data that comes and is read once passes through."""
MAY_WAIT: Final = ContextVar("may_wait", default=True)
"""Whether whoever asks may wait until a value is made: the event loop may not."""


class WouldWait(Exception):
    """What takes long, like making a value, is not done where nobody may wait for it."""


@dataclass(slots=True)
class _Making:
    """A value being made by one thread while others wait for it."""

    lock: threading.Lock
    waiters: int = 0


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    nbytes: int
    read_s: float


class ByteCache(Generic[K, V]):
    """A thread-safe LRU map whose values have a size; each is made once even under contention."""

    def __init__(
        self,
        name: str,
        bytes_max: int,
        size: Callable[[V], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._bytes_max = bytes_max
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # the longest unread first
        self._making: dict[K, _Making] = {}
        self._lock = threading.Lock()
        self._hits = LOOKUPS.labels(name, "hit")  # `labels` costs more than the look-up
        self._misses = LOOKUPS.labels(name, "miss")
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: K) -> V | None:
        """The value of `key`, where it is there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            entry.read_s = self._clock()
            return entry.value

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`; made by `make`, by one thread only, when it is not there.

        Raises WouldWait instead of making it where MAY_WAIT says so.
        """
        if (value := self.find(key)) is not None:
            self._hits.inc()
            return value
        if not MAY_WAIT.get():
            raise WouldWait
        with self._lock:
            making = self._making.setdefault(key, _Making(threading.Lock()))
            making.waiters += 1
        try:
            with making.lock:
                if (value := self.find(key)) is not None:
                    self._hits.inc()
                    return value
                self._misses.inc()
                value = make()
                self.put(key, value)
                return value
        finally:
            with self._lock:
                making.waiters -= 1
                if not making.waiters:
                    self._making.pop(key, None)

    def put(self, key: K, value: V) -> None:
        """`value` is that of `key`, unless it is too large; what nobody read makes room."""
        size, now_s = self._size(value), self._clock()
        if size > self._bytes_max:
            return
        with self._lock:
            self._drop(key)
            self._entries[key] = _Entry(value, size, now_s)
            self.nbytes += size
            while True:
                oldest, entry = next(iter(self._entries.items()))
                if self.nbytes <= self._bytes_max and now_s - entry.read_s <= UNREAD_S_MAX:
                    break
                self._drop(oldest)
            BYTES.labels(self._name).set(self.nbytes)

    def _drop(self, key: K) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.nbytes -= entry.nbytes
