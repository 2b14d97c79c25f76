"""Laws of the samples that queries are billed for: what was read, by whatever process, once."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager
from conftest import NOW_MS, FixedClock, make_settings

from data_api import usage
from data_api.app import create_app
from data_api.chassis.clock import Clock
from data_api.chassis.database import DatabaseUnavailable
from data_api.chassis.identity.billing import Billing
from data_api.chassis.identity.principal import IdentityUnavailable
from data_api.store.catalogue import Database


class MovableClock(Clock):
    """A clock that moves only when a test moves it."""

    def __init__(self):
        self.instant = datetime.now(UTC).replace(minute=30)

    def now(self):
        return self.instant


class Ledger:
    """A stand-in of ubs at its door: keeps the last revision of each hour. lost: of each request,
    whether it is lost before it arrives ("request") or its answer is ("answer"), from the first.
    """

    def __init__(self, lost=()):
        self.hours, self.complete_through, self.requests, self._lost = {}, None, 0, list(lost)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.billing = Billing("http://ubs", "token", http)

    def _answer(self, request):
        self.requests += 1
        fault = self._lost.pop(0) if self._lost else ""
        if fault == "request":
            raise httpx.ConnectError("lost")
        body = json.loads(request.content)
        assert (request.url.path, body["source"]) == ("/internal/usage", "das")
        for report in body["reports"]:
            key = report["tenant"], report["hour"]
            before = self.hours.setdefault(key, report)
            same = before["revision"] == report["revision"]
            assert not same or before == report, "one revision says two things"
            if before["revision"] < report["revision"]:
                self.hours[key] = report
        self.complete_through = body.get("complete_through", self.complete_through)
        if fault == "answer":
            raise httpx.ReadError("lost")
        return httpx.Response(200, json={"outcomes": ["stored"] * len(body["reports"])})

    def samples(self, tenant):
        """By hour, oldest first."""
        of = sorted((hour, report) for (who, hour), report in self.hours.items() if who == tenant)
        return [int(report["meters"]["query_samples"]["quantity"]) for _, report in of]


@pytest.fixture
async def database(database_url):
    async with Database(database_url, 2) as database:
        async with database.acquire() as conn:
            await conn.execute("TRUNCATE rules.query_usage")
        yield database


async def test_what_queries_read_is_kept_and_errors_are_free(
    database, database_url, objects, hub, ingest, tenant
):
    """The service's end flushes what was counted since: a query reads 100 samples, twice; one that
    its plan refuses, one that cannot be parsed and one of labels read nothing that is billed.
    """
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - n, 1.0) for n in range(100)])
    billing = httpx.AsyncClient(transport=httpx.MockTransport(hub.handle))
    app = create_app(make_settings(database_url, objects), http=billing, clock=FixedClock())
    async with (
        billing,
        LifespanManager(app, startup_timeout=600, shutdown_timeout=600),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://das") as client,
    ):
        for allowed, query, status in (
            (1000, "up[1m]", 200),
            (1000, "sum(sum_over_time(up[1m]))", 200),
            (99, "up[1m]", 422),
            (1000, "up[", 400),
        ):
            key = hub.key(tenant, query_samples=allowed)
            answer = await client.get(
                "/api/v1/query", params={"query": query}, headers={"X-API-Key": key}
            )
            assert answer.status_code == status, answer.text
        answer = await client.get("/api/v1/labels", headers={"X-API-Key": hub.key(tenant)})
        assert answer.status_code == 200
    async with database.acquire() as conn:
        rows = await conn.fetch("SELECT tenant_id, hour, samples FROM rules.query_usage")
    hour = datetime.fromtimestamp(NOW_MS // usage.HOUR_MS * 3600, UTC)
    assert [tuple(row) for row in rows] == [(tenant, hour, 200)]


async def test_processes_of_one_hour_are_one_report(database, tenant):
    """Two processes count and flush in turns, one flush is repeated as after a lost answer, one
    process ends without its last flush: ubs has what was flushed, never more.
    """
    clock, ledger = MovableClock(), Ledger()
    first, second = (usage.QueryUsage(database, clock) for _ in range(2))
    first.add(tenant, 5)
    await first.flush()
    assert await usage.deliver(database, ledger.billing) == 1
    second.add(tenant, 70)
    first.add(tenant, 100)
    await second.flush()
    first._flushed.clear()
    await first.flush()
    first._flushed.clear()
    await first.flush()
    assert await usage.deliver(database, ledger.billing) == 1
    assert ledger.samples(str(tenant)) == [175]
    second.add(tenant, 1000)  # and is killed
    assert await usage.deliver(database, ledger.billing) == 0
    assert ledger.samples(str(tenant)) == [175]


@pytest.mark.parametrize("lost", [[], ["request"], ["answer"], ["answer", "request"]], ids=str)
async def test_ubs_ends_with_what_was_read(database, tenant, lost):
    """Hours change between deliveries, requests and answers are lost: the last word is the truth,
    and when all was answered for, nothing is sent again.
    """
    clock, ledger = MovableClock(), Ledger(lost)
    processes = [usage.QueryUsage(database, clock) for _ in range(2)]
    for step in range(6):
        processes[step % 2].add(tenant, 10**step)
        await processes[step % 2].flush()
        if step == 3:
            clock.instant += timedelta(hours=1)
        try:
            await usage.deliver(database, ledger.billing)
        except IdentityUnavailable:
            continue
    await usage.deliver(database, ledger.billing)
    assert ledger.samples(str(tenant)) == [1111, 110_000]
    assert await usage.deliver(database, ledger.billing) == 0
    told = datetime.fromisoformat(ledger.complete_through)
    assert timedelta(minutes=1) < datetime.now(UTC) - told < timedelta(minutes=3)


async def test_more_hours_than_a_page_are_all_told(database):
    """Page after page, each answered for by itself: a lost one takes no other back."""
    ledger = Ledger(["", "", "answer"])
    counted = usage.QueryUsage(database, MovableClock())
    tenants = [uuid.uuid4() for _ in range(2 * usage.PAGE + 1)]
    for tenant in tenants:
        counted.add(tenant, 3)
    await counted.flush()
    with pytest.raises(IdentityUnavailable):
        await usage.deliver(database, ledger.billing)
    assert await usage.deliver(database, ledger.billing) == 1
    assert all(ledger.samples(str(tenant)) == [3] for tenant in tenants)
    assert ledger.requests == 4


async def test_an_outage_of_postgres_loses_nothing(database, database_url, tenant):
    """A flush that fails leaves all to the next one, of the hour it was read in; memory of hours
    that are over is given back.
    """
    clock = MovableClock()
    away = Database("postgresql://nobody@127.0.0.1:1/none", 1)
    counted = usage.QueryUsage(away, clock)
    counted.add(tenant, 7)
    async with away:
        with pytest.raises(DatabaseUnavailable):
            await counted.flush()
    clock.instant += timedelta(hours=1)
    counted.add(tenant, 11)
    counted._database = database
    await counted.flush()
    clock.instant += timedelta(hours=2)
    await counted.flush()
    assert not counted._totals
    assert not counted._flushed
    conn = await asyncpg.connect(database_url)
    rows = await conn.fetch("SELECT samples FROM rules.query_usage ORDER BY hour")
    await conn.close()
    assert [row["samples"] for row in rows] == [7, 11]
