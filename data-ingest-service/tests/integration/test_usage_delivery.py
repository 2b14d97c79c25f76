"""Laws of what ubs is told: each hour as it stands, whatever answers are lost."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_ingest.chassis.identity.billing import Billing
from data_ingest.chassis.identity.principal import IdentityUnavailable
from data_ingest.usage import record
from data_ingest.usage.delivery import PAGE, deliver
from tests.metric_store import NOW_MS, Store, opened_store

HOUR = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Ledger:
    """A stand-in of ubs at its door: keeps the last revision of each hour. lost: of each request,
    whether it is lost before it arrives ("request") or its answer is ("answer"), from the first.
    """

    def __init__(self, lost: Sequence[str] = ()) -> None:
        self.hours: dict[tuple[str, str], dict[str, Any]] = {}
        self.complete_through: datetime | None = None
        self.requests = 0
        self._lost = list(lost)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.billing = Billing("http://ubs", "token", http)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        fault = self._lost.pop(0) if self._lost else ""
        if fault == "request":
            raise httpx.ConnectError("lost")
        body = json.loads(request.content)
        assert request.url.path == "/internal/usage"
        for report in body["reports"]:
            kept = self.hours.setdefault((report["tenant"], report["hour"]), report)
            if kept["revision"] < report["revision"]:
                self.hours[report["tenant"], report["hour"]] = report
        if "complete_through" in body:
            self.complete_through = datetime.fromisoformat(body["complete_through"])
        if fault == "answer":
            raise httpx.ReadError("lost")
        return httpx.Response(200, json={"outcomes": ["stored"] * len(body["reports"])})

    def of(self, store: Store) -> list[dict[str, Any]]:
        """What is kept of the store's tenant."""
        return [report for (of, _), report in self.hours.items() if of == str(store.tenant)]

    def samples(self, store: Store) -> int:
        return sum(int(report["meters"]["samples"]["quantity"]) for report in self.of(store))


@pytest.mark.parametrize(
    "lost", [[], ["request"], ["answer"], ["answer", "request", "answer"]], ids=str
)
async def test_ubs_ends_with_what_is_stored(
    store_url: str, tmp_path: Path, lost: list[str]
) -> None:
    """Hours change between deliveries, requests and answers are lost: the last word is the truth,
    and when all was answered for, nothing is sent again.
    """
    ledger = Ledger(lost)
    async with opened_store(store_url, tmp_path) as store:
        for step in range(5):
            await store.commit(*((1, NOW_MS + at, 0.5) for at in range(step, step + 3)))
            await store.compact()
            await record.read_stored_bytes(store.conn)
            try:
                await deliver(store.conn, ledger.billing)
            except IdentityUnavailable:
                continue
        await deliver(store.conn, ledger.billing)
        assert ledger.samples(store) == await store.used() == 7
        meters = [report["meters"] for report in ledger.of(store)]
        assert any(sum(of.get("active_series", {"minutes": []})["minutes"]) for of in meters)
        assert any(int(of.get("stored_bytes", {"quantity": 0})["quantity"]) for of in meters)
        assert await deliver(store.conn, ledger.billing) == 0


async def test_more_hours_than_a_page_are_all_told(store_url: str, tmp_path: Path) -> None:
    """Page after page, each answered for by itself: a lost one takes no other back."""
    ledger = Ledger(["", "", "answer"])
    hours = 2 * PAGE + 1
    async with opened_store(store_url, tmp_path) as store:
        await deliver(store.conn, Ledger().billing)  # what other tests left
        await store.conn.executemany(
            "INSERT INTO metrics.usage_hour (tenant_id, hour, samples) VALUES ($1, $2, 1)",
            [(store.tenant, HOUR + timedelta(hours=hour)) for hour in range(hours)],
        )
        with pytest.raises(IdentityUnavailable):
            await deliver(store.conn, ledger.billing)
        assert await deliver(store.conn, ledger.billing) == 1
        assert ledger.samples(store) == hours
        assert ledger.requests == 4


async def test_complete_through_is_before_what_is_not_counted_yet(
    store_url: str, tmp_path: Path
) -> None:
    """A batch that waits for compaction holds the watermark back; without one it nears now."""
    ledger = Ledger()
    async with opened_store(store_url, tmp_path) as store:
        await store.conn.execute("UPDATE metrics.batch SET compacted_by = 1")
        await deliver(store.conn, ledger.billing)
        settled = ledger.complete_through
        assert settled is not None
        now = await store.conn.fetchval("SELECT now()")
        assert timedelta(minutes=1) < now - settled < timedelta(minutes=3)
        await store.commit((1, NOW_MS, 0.5))
        await store.conn.execute(
            "UPDATE metrics.batch SET received_at = received_at - interval '10 minutes'"
            " WHERE compacted_by IS NULL"
        )
        await deliver(store.conn, ledger.billing)
        oldest = await store.conn.fetchval(
            "SELECT min(received_at) FROM metrics.batch WHERE compacted_by IS NULL"
        )
        assert ledger.complete_through == oldest
        assert oldest < settled
        await store.conn.execute("DELETE FROM metrics.batch")
