"""Whether the store is still the one that was written before: asked at every new connection.

    identity: cluster, timeline, table, start of the server ── another one ──┐
    proof: the last acknowledged batches are there ─────────── one is gone ──┴─▶ a new epoch

A replica that was promoted has another timeline, a restored dump another cluster or table; a data
folder set back to an earlier copy has all of them as before, so only rows prove it. A batch proves
more than a series: its transaction saw every series that this process had learnt, created by
whomever, so while the last batch is there, all of them are.
Source: docs/adr/0012-store-history.md.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from prometheus_client import Counter

from data_ingest.errors import StoreUnavailable
from data_ingest.store import tables

REMEMBERED_MAX: Final = 10_000
"""Transactions whose loss is told; a busy writer commits about 50 a second."""
PROVABLE: Final = timedelta(minutes=15)
"""A batch this young is in its partition: upkeep drops one 15 minutes after its end at least."""

log = structlog.get_logger()
REPLACED: Final = Counter(
    "cloudopshub_ingest_store_replaced_total",
    "Connections to another store than the one written before, by what shows it.",
    ["reason"],
)
LOST_SAMPLES: Final = Counter(
    "cloudopshub_ingest_lost_samples_total",
    "Acknowledged samples that a replaced store does not have.",
)


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which store a connection leads to. series_table: None before the first migration."""

    system_identifier: int
    timeline: int
    series_table: int | None
    started_at: datetime

    def difference(self, other: "StoreIdentity") -> str:
        """Why rows of `other` may be missing here; empty when at most the start differs."""
        if self.system_identifier != other.system_identifier:
            return "another_cluster"
        if self.series_table != other.series_table:
            return "schema_made_anew"
        return "another_timeline" if self.timeline != other.timeline else ""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One committed transaction, by one of its batches; `received_at` to the µs is its own."""

    batch_id: int
    received_at: datetime
    samples: int


async def identify(conn: Any) -> StoreIdentity:
    """The store behind `conn`; `StoreUnavailable` when the server is a standby."""
    row = await conn.fetchrow(tables.STORE)
    if row["timeline"] is None:
        raise StoreUnavailable(detail="this server is a standby and takes no writes")
    return StoreIdentity(**row)


class StoreHistory:
    """What one writer has seen of its store, from connection to connection."""

    def __init__(self) -> None:
        self.epoch = 0
        """Grows when the store is another one: series ids of another epoch are not valid."""
        self._identity: StoreIdentity | None = None
        self._acknowledged: deque[Acknowledged] = deque(maxlen=REMEMBERED_MAX)

    def record(self, transaction: Acknowledged) -> None:
        """The transaction has committed and is about to be acknowledged."""
        self._acknowledged.append(transaction)

    async def compare(self, conn: Any, identity: StoreIdentity, now: datetime) -> bool:
        """Whether `conn`, with this `identity`, leads to the store known so far.

        If not, a new epoch has begun, and the samples that are gone have been logged and counted.
        now: the server's time.
        """
        previous = self._identity
        recent = [one for one in self._acknowledged if one.received_at > now - PROVABLE]
        lost = await _missing(conn, recent) if previous else []
        reason = "" if previous is None else identity.difference(previous)
        if not reason and lost:
            reason = "rows_missing"
        if not reason and previous and previous.started_at != identity.started_at and not recent:
            reason = "restarted_without_proof"
        self._identity = identity
        if not reason:
            return True
        self.epoch += 1
        self._acknowledged.clear()
        _tell(reason, recent, lost)
        return False


async def _missing(conn: Any, transactions: Sequence[Acknowledged]) -> list[Acknowledged]:
    if not transactions:
        return []
    ids = [one.batch_id for one in transactions]
    times = [one.received_at for one in transactions]
    places = await conn.fetch(tables.MISSING_BATCHES, ids, times, min(times), max(times))
    return [transactions[row["place"] - 1] for row in places]


def _tell(reason: str, recent: Sequence[Acknowledged], lost: Sequence[Acknowledged]) -> None:
    """lost: those of `recent` that are gone. Without any recent one the loss is not known."""
    samples, facts = sum(one.samples for one in lost), {}
    REPLACED.labels(reason).inc()
    LOST_SAMPLES.inc(samples)
    if lost:
        facts = {
            "lost_transactions": len(lost),
            "lost_from": lost[0].received_at.isoformat(),
            "lost_to": lost[-1].received_at.isoformat(),
            "may_be_more": len(lost) == len(recent),
        }
    write = log.error if lost else log.warning
    write("store_replaced", reason=reason, lost_samples=samples if recent else None, **facts)
