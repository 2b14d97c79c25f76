"""Series this process has seen: raw-label keys to dense ids, within a budget of bytes.

A cache only: an id enters it after the transaction that used it has committed, and any entry may be
dropped, which costs its next sample one look-up in Postgres.
"""

import threading
from collections import OrderedDict
from typing import TypeAlias
from uuid import UUID

import numpy as np

from data_ingest.kernels import table
from data_ingest.model import I64, U64
from data_ingest.replicas import ID_MASK, Groups
from data_ingest.resolution import Resolution

Epoch: TypeAlias = tuple[int, int]
"""Which series ids of a tenant are valid: the store's epoch, and deletions of its series so far."""
ROW_BYTES = 32
ROWS_MIN = 256
_FILL_MAX = 0.6


class KnownSeries:
    """One tenant's table. Safe to use from several threads; `minute` is minutes since the epoch.

    epoch: the one its ids are of (`Writer.series_epoch`). groups: of the replicas its ids carry.
    """

    def __init__(self, epoch: Epoch | None = None) -> None:
        self.epoch = epoch
        self.groups = Groups()
        self._rows: U64 = np.zeros((ROWS_MIN, 4), np.uint64)
        self._used = 0
        self._listed_at = -1
        self._resolution: Resolution | None = None
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory of the tables."""
        return int(self._rows.nbytes) + (self._resolution.bytes if self._resolution else 0)

    def __len__(self) -> int:
        """Keys in the table; a series has one for each way its labels were written."""
        return self._used

    def resolution(self, interval_ms: int | None) -> Resolution | None:
        """What is stored of these series with one sample an interval; None without such a limit.

        It stays when asked without: what the hub itself scrapes for the tenant is not limited.
        """
        if interval_ms is None:
            return None
        if self._resolution is None or self._resolution.interval_ms != interval_ms:
            self._resolution = Resolution(interval_ms)
        return self._resolution

    def find(self, keys: U64, minute: int) -> I64:
        """The id of each key with its group (`replicas`), 0 where unknown."""
        series_ids = np.empty(len(keys), np.int64)
        with self._lock:
            table.find(self._rows, keys, np.uint64(minute), series_ids)
        return series_ids

    def learn(self, keys: U64, series_ids: I64, minute: int, rows_max: int) -> None:
        """These keys are known from here on; the table stays within `rows_max` rows.

        When there is no room, keys seen longest ago are dropped, and then the last of the new ones.
        """
        with self._lock:
            old_ids = np.empty(len(keys), np.int64)
            new = int(table.find(self._rows, keys, np.uint64(minute), old_ids))
            self._make_room(new, rows_max)
            room = int(len(self._rows) * _FILL_MAX) - self._used
            self._used += int(
                table.insert(self._rows, keys[:room], series_ids[:room], np.uint64(minute))
            )

    def is_listed(self, minute: int) -> bool:
        """Whether `active_ids` has nothing to do in this minute."""
        return minute == self._listed_at

    def active_ids(self, minute: int, window_minutes: int) -> I64 | None:
        """Distinct series seen in that window, ascending; None where they were told this minute."""
        with self._lock:
            if minute == self._listed_at:
                return None
            self._listed_at = minute
            seen = self._rows[:, 3] >= max(0, minute - window_minutes)
            recent = self._rows[seen, 2]
        # Sorting takes longest, and others need the table.
        series_ids: I64 = np.unique(recent & np.uint64(ID_MASK)).astype(np.int64)
        return series_ids[1:] if series_ids.size and not series_ids[0] else series_ids

    def _make_room(self, new: int, rows_max: int) -> None:
        wanted = len(self._rows)
        while (self._used + new) > wanted * _FILL_MAX and wanted * 2 <= max(rows_max, ROWS_MIN):
            wanted *= 2
        since = 0
        if (self._used + new) > wanted * _FILL_MAX:
            # Over budget: keep the more recently seen half, or of equally recent ones none.
            seen = np.sort(self._rows[self._rows[:, 2] != 0, 3])
            since = int(seen[len(seen) // 2]) if len(seen) else 0
            if self._seen_since(since) + new > wanted * _FILL_MAX:
                since += 1
        if since or wanted != len(self._rows):
            rows = np.zeros((wanted, 4), np.uint64)
            self._used = int(table.rebuild(self._rows, rows, np.uint64(since)))
            self._rows = rows

    def _seen_since(self, since: int) -> int:
        return int(np.count_nonzero((self._rows[:, 2] != 0) & (self._rows[:, 3] >= since)))


class SeriesCache:
    """The tables of all tenants within one budget; tables of idle tenants are dropped first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._tenants: OrderedDict[UUID, KnownSeries] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Memory of all tables."""
        return sum(series.bytes for series in self._tenants.values())

    def of(self, tenant: UUID, epoch: Epoch | None = None) -> KnownSeries:
        """The table of this tenant, which is the most recently used one from here on.

        One of another epoch is dropped; a request that still has it does not use it again.
        """
        series = self._tenants.get(tenant)
        if series is None or series.epoch != epoch:
            series = self._tenants[tenant] = KnownSeries(epoch)
            self.enforce_budget(tenant)
        self._tenants.move_to_end(tenant)
        return series

    @property
    def rows_max(self) -> int:
        """Rows one table may have: half the budget, as a growing table exists twice meanwhile."""
        return 1 << (max(self._bytes_max // 2 // ROW_BYTES, ROWS_MIN).bit_length() - 1)

    def enforce_budget(self, in_use: UUID) -> None:
        """The tables are within the budget, or only that of the tenant `in_use` is left."""
        while self.bytes > self._bytes_max and len(self._tenants) > 1:
            idle = next(tenant for tenant in self._tenants if tenant != in_use)
            del self._tenants[idle]
