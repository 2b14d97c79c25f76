"""A tenant whose quota is used up: one sample a series and interval, alerts whole, all counted."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from data_ingest import migrate
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited, StoreUnavailable
from data_ingest.protocols.protocol import refusal
from tests.embedded_postgres import fresh_database
from tests.write_path import FREE, body, locked, now_ms, refused, stored, until, write_path

MINUTE = 60_000
LOWERED = replace(FREE, min_interval_ms=MINUTE)
START = now_ms() // MINUTE * MINUTE - 10 * MINUTE


@pytest.fixture(scope="module")
def store_url(postgres: str) -> Iterator[str]:
    """One database for all tests here, each of which has its own tenant."""
    with fresh_database(postgres, "resolution") as url:
        migrate.upgrade(url)
        yield url


def every(seconds: int, minutes: int = 3, first: int = START) -> list[tuple[int, float]]:
    return [(first + n * seconds * 1000, float(n)) for n in range(minutes * 60 // seconds)]


def of(samples, name):
    return [(ts - START) // 1000 for one, ts, _ in samples if one == name]


async def is_taken(path, tenant, request, limits) -> bool:
    """Whether the writer, which may be away, took the request."""
    with contextlib.suppress(StoreUnavailable):
        await path.send(tenant, request, limits)
        return True
    return False


async def test_one_sample_an_interval_and_alerts_whole(store_url):
    """New and known series alike; accepted and lowered are what was sent, and whoever sent it is
    told that all is well.
    """
    async with write_path(store_url) as path:
        tenant, sent, accepted, lowered = uuid4(), 0, 0, 0
        for request in range(4):
            samples = [(START + request * 15_000 + turn * MINUTE, 1.0) for turn in range(2)]
            outcome = await path.send(tenant, body(("m", samples), ("up", samples)), LOWERED)
            sent, accepted = sent + 4, accepted + outcome.accepted
            lowered += outcome.lowered
            assert not outcome.refused
            assert refusal(outcome) is None
        all_stored = await stored(path.conn, tenant)
        assert of(all_stored, "m") == [0, 60]
        assert sorted(of(all_stored, "up")) == list(range(0, 120, 15))
        assert (accepted, lowered) == (10, 6)
        assert accepted + lowered == sent
        assert await refused(path.conn, tenant) == {"resolution_lowered": 6}


async def test_it_is_lifted_and_comes_again(store_url):
    """Without the limit all is stored; another interval begins anew."""
    async with write_path(store_url) as path:
        tenant = uuid4()
        for turn, limits in enumerate((LOWERED, FREE, replace(FREE, min_interval_ms=30_000))):
            samples = every(15, 2, START + turn * 2 * MINUTE)
            await path.send(tenant, body(("m", samples)), limits)
        seconds = of(await stored(path.conn, tenant), "m")
        assert seconds == [0, 60, *range(120, 240, 15), 240, 270, 300, 330]


async def test_what_is_not_limited_between_changes_nothing(store_url):
    """As what the hub scrapes for the tenant; only with the limit itself gone all is stored."""
    async with write_path(store_url) as path:
        tenant = uuid4()
        for n in range(4):
            await path.send(tenant, body(("m", [(START + n * 15_000, 1.0)])), LOWERED)
            await path.send(tenant, body(("scraped", [(START + n * 15_000, 1.0)])), FREE)
        all_stored = await stored(path.conn, tenant)
        assert of(all_stored, "m") == [0]
        assert of(all_stored, "scraped") == [0, 15, 30, 45]


async def test_a_process_that_starts_stores_at_most_one_more(store_url):
    """In the interval it starts in; after it, one as before. Two processes: one each."""
    tenant = uuid4()
    for process in range(2):
        async with write_path(store_url) as path:
            samples = every(15, 2, START + MINUTE + process * 30_000)
            await path.send(tenant, body(("m", samples)), LOWERED)
            await path.send(tenant, body(("m", samples)), LOWERED)
            seconds = of(await stored(path.conn, tenant), "m")
    assert seconds == [60, 120, 90, 120, 180]


async def test_a_commit_that_failed_loses_no_interval(store_url):
    """The sender comes again, and its samples are stored; so after a refusal by rate."""
    async with write_path(store_url, commit_timeout_s=1.0) as path:
        tenant = uuid4()
        await until(lambda: is_taken(path, tenant, body(("m", [(START, 1.0)])), LOWERED))
        request = body(("m", every(15, 2, START + MINUTE)))
        async with locked(store_url):
            with pytest.raises(StoreUnavailable):
                await path.send(tenant, request, LOWERED)
        limited = replace(LOWERED, samples_per_s=1, burst_samples=1)
        await until(lambda: is_taken(path, tenant, body(("other", [(START, 1.0)])), limited))
        with pytest.raises(RateLimited):
            await path.send(tenant, request, limited)
        await until(lambda: is_taken(path, tenant, request, LOWERED))
        assert set(of(await stored(path.conn, tenant), "m")) == {0, 60, 120}


async def test_a_blocked_tenant_stores_nothing_and_its_senders_do_not_come_again(store_url):
    """Counted with the reason; the answer is one that senders drop the samples for."""
    async with write_path(store_url) as path:
        tenant = uuid4()
        blocked = Limits(
            blocked="the quota of 5 samples a month is used up", min_interval_ms=MINUTE
        )
        outcome = await path.send(tenant, body(("m", every(15)), ("up", every(15))), blocked)
        assert (outcome.accepted, outcome.refused) == (0, {"quota_used_up": 24})
        answer = refusal(outcome)
        assert answer is not None
        assert "the quota of 5 samples" in str(answer)
        assert await stored(path.conn, tenant) == []
        assert await refused(path.conn, tenant) == {"quota_used_up": 24}
        assert (
            await path.conn.fetchval(
                "SELECT count(*) FROM metrics.series WHERE tenant_id = $1", tenant
            )
            == 0
        )
        await path.send(tenant, body(("m", every(15))), FREE)
        assert len(await stored(path.conn, tenant)) == 12


async def test_other_tenants_are_not_lowered(store_url):
    """The limit is of one tenant, also in one process."""
    async with write_path(store_url) as path:
        mine, theirs = uuid4(), uuid4()
        await path.send(mine, body(("m", every(15))), LOWERED)
        await path.send(theirs, body(("m", every(15))), FREE)
        assert len(await stored(path.conn, mine)) == 3
        assert len(await stored(path.conn, theirs)) == 12
