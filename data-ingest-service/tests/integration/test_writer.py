"""Laws of the group commit and of the write path, against a real Postgres."""

import asyncio
import time
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import numpy as np
import pytest
import structlog

from data_ingest import migrate
from data_ingest.chassis.identity import Limits
from data_ingest.errors import Overloaded, RateLimited, StoreRefused, StoreUnavailable
from data_ingest.model import MetricMetadata
from data_ingest.protocols import remote_write
from data_ingest.store.active_series import unpack_ids
from data_ingest.store.packing import Write
from data_ingest.store.writer import Writer
from tests import wire
from tests.write_path import (
    BOUNDS,
    FREE,
    WAIT_S,
    are_queued,
    body,
    has_reconnected,
    is_up,
    kill_writer,
    locked,
    now_ms,
    refused,
    stored,
    until,
    waiting,
    write_path,
    writer_pid,
)


async def test_more_new_series_than_a_transaction_takes_are_registered_in_several(store_url):
    """One request cannot keep the others waiting, or time out for ever, by how many series it
    brings; every sample is under its own series.
    """
    tenant, at = uuid4(), now_ms()
    names = [f"m{i}" for i in range(35)]
    request = body(*((name, [(at, 1.0), (at + 1, 2.0)]) for name in names))
    async with write_path(store_url, flush_new_series_max=10) as path:
        outcome = await path.send(tenant, request)
        assert (outcome.accepted, outcome.refused_total) == (70, 0)
        expected = sorted((name, at + i, 1.0 + i) for name in names for i in range(2))
        assert sorted(await stored(path.conn, tenant)) == expected
        sizes = await path.conn.fetch(
            "SELECT count(*) AS n FROM metrics.series GROUP BY xid::text ORDER BY n"
        )
        assert [row["n"] for row in sizes] == [5, 10, 10, 10]
        keys = remote_write.decode(request, BOUNDS).keys
        series_ids = path.cache.of(tenant, path.writer.series_epoch(tenant)).find(
            keys, at // 60_000
        )
        assert series_ids.all()
        assert len(set(series_ids.tolist())) == 35


async def test_acknowledged_samples_are_there(store_url):
    """What was acknowledged can be read by another connection at once, with its series."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        outcome = await path.send(
            tenant, body(("up", [(at, 1.0), (at + 1, 2.0)]), ("x", [(at, 3.0)]))
        )
        assert outcome.accepted == 3
        assert await stored(path.conn, tenant) == [
            ("up", at, 1.0),
            ("up", at + 1, 2.0),
            ("x", at, 3.0),
        ]
        await path.send(tenant, body(("up", [(at + 2, 4.0)])))
        assert (await stored(path.conn, tenant))[-1] == ("up", at + 2, 4.0)
        assert await path.conn.fetchval("SELECT count(*) FROM metrics.series") == 2


async def test_same_sample_again_is_fine(store_url):
    """A sender that sends a request twice gets the same answer twice."""
    async with write_path(store_url) as path:
        tenant, request = uuid4(), body(("up", [(now_ms(), 1.0)]))
        assert (await path.send(tenant, request)).accepted == 1
        assert (await path.send(tenant, request)).accepted == 1


async def test_label_order_does_not_matter(store_url):
    """One series however its labels are ordered, and from whichever cache entry it comes."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        pairs = [(b"__name__", b"up"), (b"a", b"1"), (b"b", b"2")]
        for labels in (pairs, pairs[::-1], [*pairs, (b"empty", b"")]):
            await path.send(tenant, wire.compressed(wire.series(labels, [(at, 1.0)])))
        assert await path.conn.fetchval("SELECT count(*) FROM metrics.series") == 1


async def test_requests_in_flight_are_one_transaction(store_url):
    """What queues while a commit is in flight is one transaction, with a batch for each tenant."""
    async with write_path(store_url) as path:
        tenants, at = [uuid4(), uuid4()], now_ms()
        for tenant in tenants:
            await path.send(tenant, body(("up", [(at, 0.0)])))
        async with locked(store_url):
            first = asyncio.create_task(path.send(tenants[0], body(("up", [(at, 1.0)]))))
            await until(lambda: waiting(path.conn))
            later = [
                asyncio.create_task(path.send(tenants[i % 2], body(("up", [(at, 2.0 + i)]))))
                for i in range(6)
            ]
            await until(lambda: are_queued(6))
        await asyncio.gather(first, *later)
        rows = await path.conn.fetch(
            "SELECT xid::text AS xid, count(*) AS n, sum(samples) AS samples FROM metrics.batch"
            " GROUP BY 1 ORDER BY max(batch_id)"
        )
        assert [(row["n"], row["samples"]) for row in rows][-2:] == [(1, 1), (2, 6)]
        values = [value for _, _, value in await stored(path.conn, tenants[0])]
        assert sorted(values) == [0.0, 1.0, 2.0, 4.0, 6.0]


async def test_killed_connection_is_not_an_acknowledgement(store_url):
    """A commit whose connection dies is 503 and adds nothing to the cache; the next stores all."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        request = body(("up", [(at, 1.0)]))
        async with locked(store_url):
            sending = asyncio.create_task(path.send(tenant, request))
            await until(lambda: waiting(path.conn))
            assert await kill_writer(path.conn) == 1
            with pytest.raises(StoreUnavailable):
                await sending
        assert len(path.cache.of(tenant, path.writer.series_epoch(tenant))) == 0
        assert await stored(path.conn, tenant) == []
        await until(lambda: is_up(path.writer))
        assert (await path.send(tenant, request)).accepted == 1
        assert await stored(path.conn, tenant) == [("up", at, 1.0)]


async def test_idle_connection_lost_is_not_noticed(store_url):
    """A connection that Postgres closes while nothing is in flight costs no request an error."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        for i in range(3):
            before = await writer_pid(path.conn)
            await kill_writer(path.conn)
            await until(partial(has_reconnected, path, before))
            assert (await path.send(tenant, body(("up", [(at + i, 1.0)])))).accepted == 1


async def test_one_bad_write_fails_alone(store_url):
    """What Postgres refuses in one write does not touch the others of the same transaction."""
    async with write_path(store_url) as path:
        good, bad, at = uuid4(), uuid4(), now_ms()
        await path.send(good, body(("up", [(at, 0.0)])))
        nothing = np.empty(0, np.int64)
        poison = Write(
            bad, nothing, nothing, np.empty(0), metadata=(MetricMetadata("m", "gauge", "\0"),)
        )
        async with locked(store_url):
            first = asyncio.create_task(path.send(good, body(("up", [(at, 1.0)]))))
            await until(lambda: waiting(path.conn))
            poisoned = asyncio.create_task(path.writer.commit(poison))
            second = asyncio.create_task(path.send(good, body(("up", [(at, 2.0)]))))
            await asyncio.sleep(0)
        assert (await first).accepted == 1
        assert (await second).accepted == 1
        with pytest.raises(StoreRefused):
            await poisoned
        assert [value for *_, value in await stored(path.conn, good)] == [0.0, 1.0, 2.0]


async def test_postgres_away_is_said_at_once_and_ends_by_itself(store_url):
    """While Postgres refuses connections a write is 503 within a bound; afterwards writes go on."""

    async def is_down(writer: Writer) -> bool:
        return not await is_up(writer)

    name = urlsplit(store_url).path.lstrip("/")
    admin = await asyncpg.connect(store_url, database="postgres")
    tenant, at = uuid4(), now_ms()
    async with write_path(store_url) as path:
        await path.send(tenant, body(("up", [(at, 1.0)])))
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await kill_writer(path.conn)
        await until(lambda: is_down(path.writer))
        async with asyncio.timeout(path.writer._bounds.commit_timeout_s / 2):
            with pytest.raises(StoreUnavailable) as caught:
                await path.send(tenant, body(("up", [(at, 2.0)])))
        assert caught.value.facts["retry_after_s"] >= 1
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await until(lambda: is_up(path.writer))
        await path.send(tenant, body(("up", [(at, 3.0)])))
        assert [value for *_, value in await stored(path.conn, tenant)] == [1.0, 3.0]
    await admin.close()


async def test_a_commit_takes_no_longer_than_its_bound(store_url):
    """A commit that hangs is answered 503 when its time is up, and the writer starts over."""
    async with write_path(store_url, commit_timeout_s=2.0) as path:
        tenant, at = uuid4(), now_ms()
        async with locked(store_url), asyncio.timeout(WAIT_S):
            with pytest.raises(StoreUnavailable):
                await path.send(tenant, body(("up", [(at, 1.0)])))

        async def goes_through() -> bool:
            # The writer may still be about to notice: the request's time runs beside its own.
            try:
                return bool((await path.send(tenant, body(("up", [(at, 2.0)])))).accepted)
            except StoreUnavailable:
                return False

        await until(goes_through)


async def test_the_queue_has_a_size(store_url):
    """More than the queue may hold is refused at once, and what is queued is still committed."""
    async with write_path(store_url, queue_samples_max=3) as path:
        tenant, at = uuid4(), now_ms()
        await path.send(tenant, body(("up", [(at, 0.0)])))
        async with locked(store_url):
            first = asyncio.create_task(path.send(tenant, body(("up", [(at, 1.0)]))))
            await until(lambda: waiting(path.conn))
            pairs = [(at, 2.0), (at + 1, 2.0)]
            second = asyncio.create_task(path.send(tenant, body(("up", pairs))))
            await until(lambda: are_queued(2))
            with pytest.raises(Overloaded):
                await path.send(tenant, body(("up", pairs)))
        assert (await first).accepted + (await second).accepted == 3


async def test_accepted_and_refused_make_received(store_url):
    """Whatever is wrong with some samples, the rest is stored, and Postgres has all counts."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        message = b"".join(
            (
                wire.series([(b"__name__", b"ok")], [(at, 1.0), (at + 3_600_000, 2.0), (-5, 3.0)]),
                wire.series([(b"a", b"1"), (b"a", b"2")], [(at, 4.0)]),
                wire.series([(b"__name__", b"only_old")], [(1, 5.0)]),
                wire.field(1, wire.label(b"h", b"1") + wire.field(4, b"")),
            )
        )
        outcome = await path.send(tenant, wire.compressed(message), Limits(retention_days=30))
        assert outcome.accepted == 1
        assert outcome.refused == await refused(path.conn, tenant)
        assert outcome.refused == {
            "too_far_in_future": 1,
            "too_old": 2,
            "invalid_labels": 1,
            "invalid_histogram": 1,
        }
        assert await stored(path.conn, tenant) == [("ok", at, 1.0)]
        assert await path.conn.fetchval("SELECT count(*) FROM metrics.series") == 1


async def test_over_the_rate_all_is_refused_and_counted(store_url):
    """Over its rate a tenant is given a time to come back; each refused sample is counted once."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        limits = Limits(samples_per_s=2, burst_samples=2)
        request = body(("up", [(at, 1.0), (at + 1, 2.0)]))
        assert (await path.send(tenant, request, limits)).accepted == 2
        with pytest.raises(RateLimited) as caught:
            await path.send(tenant, request, limits)
        assert caught.value.facts["retry_after_s"] > 0
        assert await refused(path.conn, tenant) == {"rate_limited": 2}
        assert len(await stored(path.conn, tenant)) == 2
        assert (await path.send(uuid4(), request, limits)).accepted == 2


async def test_a_decoder_hears_what_was_stored_and_will_not_come_again(store_url):
    """Once after the commit; not where the sender is told to send again: 429, 503."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        limits = Limits(samples_per_s=1, burst_samples=1)
        calls = list[int]()
        decoded = replace(
            remote_write.decode(body(("up", [(at, 1.0)])), BOUNDS),
            committed=lambda: calls.append(1),
        )
        await path.pipeline.ingest(tenant, decoded, limits, "otlp")
        assert calls == [1]
        with pytest.raises(RateLimited):
            await path.pipeline.ingest(tenant, decoded, limits, "otlp")
        await path.writer.close()
        with pytest.raises(StoreUnavailable):
            await path.pipeline.ingest(tenant, decoded, FREE, "otlp")
        assert calls == [1]


async def test_active_series_have_a_cap(store_url):
    """Series over the plan's cap are refused, known ones go on."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        limits = Limits(active_series=2)
        three = body(*[(name, [(at, 1.0)]) for name in ("a", "b", "c")])
        outcome = await path.send(tenant, three, limits)
        assert (outcome.accepted, outcome.refused) == (2, {"active_series_limit": 1})
        outcome = await path.send(tenant, three, limits)
        assert (outcome.accepted, outcome.refused) == (2, {"active_series_limit": 1})
        assert {name for name, *_ in await stored(path.conn, tenant)} == {"a", "b"}
        assert await refused(path.conn, tenant) == {"active_series_limit": 2}


async def test_a_series_with_a_row_is_not_new(store_url):
    """At its cap a tenant's series go on after a restart, and in another replica: only a series
    without a row is refused.
    """
    tenant, at = uuid4(), now_ms()
    limits = Limits(active_series=2)
    two = body(*[(name, [(at, 1.0)]) for name in ("a", "b")])
    async with write_path(store_url) as path:
        await path.send(tenant, body(("b", [(at, 0.0)])), limits)
        await path.send(tenant, two, limits)
        async with write_path(store_url) as replica:
            assert (await replica.send(tenant, two, limits)).refused == {}
    async with write_path(store_url) as restarted:
        three = body(*[(name, [(at, 1.0)]) for name in ("new", "a", "b")])
        outcome = await restarted.send(tenant, three, limits)
        assert (outcome.accepted, outcome.refused) == (2, {"active_series_limit": 1})
        assert '"new"' in outcome.first_error
        assert outcome.refused == await refused(restarted.conn, tenant)


async def test_the_cap_of_active_series_is_one_for_all_replicas(store_url):
    """What one replica makes leaves less room for the others, and after a restart it still does;
    series that nobody saw in the window leave room again.
    """
    tenant, at = uuid4(), now_ms()
    limits = Limits(active_series=5)

    async def send_new(path, prefix, n):
        names = [f"{prefix}{i}" for i in range(n)]
        outcome = await path.send(tenant, body(*((name, [(at, 1.0)]) for name in names)), limits)
        return outcome.accepted

    async with write_path(store_url) as one, write_path(store_url) as other:
        assert await send_new(one, "a", 2) == 2
        assert await send_new(other, "b", 2) == 2
        assert await send_new(one, "c", 2) == 1
        assert await send_new(other, "d", 2) == 0
    async with write_path(store_url) as restarted:
        assert await send_new(restarted, "e", 1) == 0
    async with write_path(store_url, active_window_s=0.0) as later:
        assert await send_new(later, "f", 6) == 5


async def test_the_count_of_active_series_survives_a_restart(store_url):
    """Series that were made long ago and are still seen count as active after a restart, too."""
    tenant, at = uuid4(), now_ms()
    known = body(*((name, [(at, 1.0)]) for name in ("a", "b")))
    limits = Limits(active_series=3)
    async with write_path(store_url) as path:
        await path.send(tenant, known)  # without a cap: nothing is reported
        await path.send(tenant, known, limits)
        rows = await path.conn.fetch("SELECT * FROM metrics.active_series")
        assert [unpack_ids(row["series_ids"]).tolist() for row in rows] == [[1, 2]]
    async with write_path(store_url) as restarted:
        outcome = await restarted.send(tenant, body(("c", [(at, 1.0)]), ("d", [(at, 1.0)])), limits)
        assert (outcome.accepted, outcome.refused) == (1, {"active_series_limit": 1})


async def test_two_writers_agree_on_ids(store_url):
    """Two processes that meet the same new series at once store them under one id each."""
    async with write_path(store_url) as one, write_path(store_url) as other:
        tenant, at = uuid4(), now_ms()
        names = [f"m{i}" for i in range(300)]
        await asyncio.gather(
            *(
                path.send(tenant, body(*[(name, [(at, 1.0)]) for name in order]))
                for order in (names, names[::-1])
                for path in (one, other)
            )
        )
        assert await one.conn.fetchval("SELECT count(*) FROM metrics.series") == 300
        assert len(await stored(one.conn, tenant)) == 1200


async def test_two_writers_make_thousands_of_the_same_series_once(store_url):
    """Whatever part of them each brings first, and in which order: every series has one id, and
    every sample is under its own.
    """
    tenant, at = uuid4(), now_ms()
    names = [f"m{i}" for i in range(4_000)]
    orders = names[:3_000], names[:999:-1], names[::-2], names[1::3]

    def sent(writer: int) -> list[bytes]:
        return [
            body(*((name, [(at + writer * 4 + i, float(name[1:]))]) for name in part))
            for i, part in enumerate(orders[writer::-1] + orders[:writer:-1])
        ]

    async with write_path(store_url) as one, write_path(store_url) as other:
        paths = one, other
        outcomes = await asyncio.gather(
            *(paths[i].send(tenant, request) for i in range(2) for request in sent(i))
        )
        assert sum(outcome.accepted for outcome in outcomes) == 2 * sum(map(len, orders))
        rows = await one.conn.fetch("SELECT labels ->> '__name__' AS name FROM metrics.series")
        assert sorted(row["name"] for row in rows) == sorted(names)
        samples = await stored(one.conn, tenant)
        assert len(set(samples)) == len(samples) == 2 * sum(map(len, orders))
        assert all(name == f"m{value:.0f}" for name, _, value in samples)


async def test_metadata_is_stored_once_it_changes(store_url):
    """Type, help and unit of a name are kept; the last one sent wins."""
    async with write_path(store_url) as path:
        tenant = uuid4()
        for help_text in (b"old", b"new"):
            metadata = b"\x08\x02" + wire.field(2, b"up") + wire.field(4, help_text)
            await path.send(tenant, wire.compressed(wire.field(3, metadata)))
        row = await path.conn.fetchrow("SELECT * FROM metrics.metadata")
        assert (row["metric_name"], row["type"], row["help"]) == ("up", "gauge", "new")


async def test_metadata_that_cannot_be_stored_costs_no_sample(store_url):
    """A description whose name is too long for its index, or whose text Postgres cannot hold, is
    left out, counted and told; samples and other descriptions of the request are stored.
    """
    rng = np.random.default_rng(1)
    long = bytes(rng.integers(97, 123, 4000, np.uint8))  # Postgres compresses words that repeat
    about = [
        wire.field(2, name) + wire.field(4, text)
        for name, text in ((long, b"x"), (b"nul", b"a\0b"), (b"up", b"y" * 5000))
    ]
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        sample = wire.series([(b"__name__", b"up")], [(at, 1.0)])
        request = wire.compressed(sample + b"".join(wire.field(3, one) for one in about))
        with structlog.testing.capture_logs() as logs:
            outcome = await path.send(tenant, request)
        assert (outcome.accepted, outcome.refused) == (1, {})
        assert outcome.skipped == {"metadata_not_kept": 2}
        assert [one["descriptions"] for one in logs if one["event"] == "metadata_not_kept"] == [2]
        assert await stored(path.conn, tenant) == [("up", at, 1.0)]
        rows = await path.conn.fetch("SELECT metric_name, help FROM metrics.metadata")
        assert [tuple(row) for row in rows] == [("up", "y" * 4096)]


async def test_metadata_that_postgres_refuses_costs_no_sample(store_url):
    """Whatever Postgres has against a description, the samples beside it are stored."""
    async with write_path(store_url) as path:
        await path.conn.execute(
            "ALTER TABLE metrics.metadata ADD CONSTRAINT no_up CHECK (metric_name <> 'up')"
        )
        tenant, at = uuid4(), now_ms()
        sample = wire.series([(b"__name__", b"up")], [(at, 1.0)])
        request = wire.compressed(sample + wire.field(3, wire.field(2, b"up")))
        outcome = await path.send(tenant, request)
        assert (outcome.accepted, outcome.skipped) == (1, {"metadata_not_kept": 1})
        assert await stored(path.conn, tenant) == [("up", at, 1.0)]


async def test_partitions_that_are_missing_are_made(store_url):
    """A clock that outran the partitions made ahead costs no sample."""
    async with write_path(store_url) as path:
        rows = await path.conn.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
            " WHERE inhparent = 'metrics.batch'::regclass"
        )
        assert len(rows) == 26
        for row in rows:
            await path.conn.execute(f"DROP TABLE {row['name']}")
        tenant, at = uuid4(), now_ms()
        assert (await path.send(tenant, body(("up", [(at, 1.0)])))).accepted == 1
        assert await stored(path.conn, tenant) == [("up", at, 1.0)]


async def test_a_clock_that_differs_from_the_servers_loses_no_sample(store_url, monkeypatch):
    """The hour of a batch is Postgres's, so its partition is, too: a service whose clock is days
    off stores what it is sent.
    """
    at, clock = now_ms(), time.time
    for days_off in (-3, 3):
        conn = await asyncpg.connect(store_url)
        for name in await partitions(conn):
            await conn.execute(f"DROP TABLE metrics.{name}")
        await conn.close()
        monkeypatch.setattr(time, "time", lambda off=days_off: clock() + off * 86_400)
        async with write_path(store_url) as path:
            tenant = uuid4()
            await path.writer.commit(Write(tenant, np.array([1]), np.array([at]), np.array([1.0])))
            samples = "SELECT sum(samples) FROM metrics.batch WHERE tenant_id = $1"
            assert await path.conn.fetchval(samples, tenant) == 1
        monkeypatch.undo()


async def test_no_partition_is_no_fault_of_the_sender(store_url, monkeypatch):
    """A batch without a partition is 503, which senders repeat, not 400, which they drop."""

    async def nothing_made(*_: object) -> list[str]:
        return []

    async with write_path(store_url) as path:
        for name in await partitions(path.conn):
            await path.conn.execute(f"DROP TABLE metrics.{name}")
        monkeypatch.setattr("data_ingest.store.transaction.ensure_partitions", nothing_made)
        with pytest.raises(StoreUnavailable):
            await path.send(uuid4(), body(("up", [(now_ms(), 1.0)])))


async def test_a_connection_lost_between_single_commits_answers_everyone(store_url, monkeypatch):
    """When a refused flush is committed write by write and the connection dies on the way, those
    not yet tried are answered at once, not at their time limit.
    """
    async with write_path(store_url) as path:
        # The flush of all three, and then its first write.
        failures = iter([asyncpg.DataError("a value it does not like"), ConnectionError("gone")])

        def failing(writes):
            raise next(failures)

        at = now_ms()
        async with locked(store_url):
            first = asyncio.create_task(path.send(uuid4(), body(("up", [(at, 0.0)]))))
            await until(lambda: waiting(path.conn))
            monkeypatch.setattr("data_ingest.store.packing.pack_rows", failing)
            others = [
                asyncio.create_task(path.send(uuid4(), body(("up", [(at, 1.0)])))) for _ in range(3)
            ]
            await until(lambda: are_queued(3))
        assert (await first).accepted == 1
        async with asyncio.timeout(path.writer._bounds.commit_timeout_s / 2):
            answers = await asyncio.gather(*others, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers), answers


async def partitions(conn) -> list[str]:
    rows = await conn.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'metrics.batch'::regclass"
    )
    return [row["name"].removeprefix("metrics.") for row in rows]


@pytest.mark.parametrize("how", ["made anew", "an earlier state"])
async def test_a_store_that_was_replaced_is_noticed(store_url, how):
    """After a restore under a running service, ids from before are not written: every sample has
    its series, and a write whose ids are from before is sent again.
    """
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        await path.send(tenant, body(("kept", [(at, 0.0)])))
        await path.send(tenant, body(("up", [(at, 1.0)])))
        old, before = path.writer.series_epoch(tenant), await writer_pid(path.conn)
        if how == "made anew":
            await path.conn.execute("DROP SCHEMA metrics CASCADE")
            await asyncio.to_thread(migrate.upgrade, store_url)
        else:
            await path.conn.execute(
                "DELETE FROM metrics.batch; DELETE FROM metrics.series"
                " WHERE labels->>'__name__' = 'up'; SELECT setval('metrics.series_id_seq', 1)"
            )
        await kill_writer(path.conn)
        await until(partial(has_reconnected, path, before))
        assert (await path.send(tenant, body(("up", [(at, 2.0)])))).accepted == 1
        assert await stored(path.conn, tenant) == [("up", at, 2.0)]
        late = Write(tenant, np.array([2]), np.array([at]), np.array([1.0]))
        with pytest.raises(StoreUnavailable):
            await path.writer.commit(late, old)
        # An idle reconnection to the same store forgets nothing.
        now, before = path.writer.store_epoch, await writer_pid(path.conn)
        await kill_writer(path.conn)
        await until(partial(has_reconnected, path, before))
        assert path.writer.store_epoch == now
        assert len(path.cache.of(tenant, path.writer.series_epoch(tenant))) == 1
