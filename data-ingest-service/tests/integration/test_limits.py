"""Laws of what all processes decide together: a plan's rate, and which replica is stored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from random import Random
from types import SimpleNamespace
from uuid import UUID, uuid4

import asyncpg
import pytest

from data_ingest import migrate
from data_ingest.chassis.database import DatabaseUnavailable
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited
from data_ingest.protocols import remote_write
from data_ingest.store import catalogue, rate_leases, shared
from data_ingest.store.rate_leases import LEASE_S, RateLeases
from data_ingest.store.shared import SharedDecisions
from tests import wire
from tests.embedded_postgres import fresh_database
from tests.native_histograms import histogram
from tests.write_path import BOUNDS, FREE, body, now_ms, refused, stored, until, write_path

DECISIONS = "FROM pg_stat_activity WHERE application_name = 'cloudopshub-dis decisions'"
LEASED = "SELECT coalesce(sum(samples), 0) FROM metrics.rate_lease WHERE tenant_id = $1"
SERIES = "SELECT labels::text AS labels FROM metrics.series WHERE tenant_id = $1 ORDER BY 1"
RATE = (10.0, 1000.0)
"""Samples a second so few that a slow machine gives no more than a handful by itself."""
SLACK = 300.0


@pytest.fixture(scope="module")
def store_url(postgres: str) -> Iterator[str]:
    """One database for all tests here, each of which has its own tenant."""
    with fresh_database(postgres, "limits") as url:
        migrate.upgrade(url)
        yield url


class TestClock:
    """The seconds of one process."""

    __test__ = False

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.asynccontextmanager
async def processes(url: str, count: int) -> AsyncIterator[SimpleNamespace]:
    """Leases of several processes on one Postgres, whose time `passes` when the test says so."""
    decisions = [SharedDecisions(url) for _ in range(count)]
    clock = TestClock()
    conn = await asyncpg.connect(url)

    async def passes(seconds: float) -> None:
        clock.now_s += seconds
        await shift(conn, seconds)

    try:
        leases = [RateLeases(one, clock) for one in decisions]
        yield SimpleNamespace(leases=leases, passes=passes, conn=conn, clock=clock)
    finally:
        for one in decisions:
            await one.close()
        await conn.close()


async def shift(conn: asyncpg.Connection, seconds: float) -> None:
    """For Postgres so much time has passed."""
    for table, column in (("rate", "at"), ("rate_lease", "until"), ("ha_cluster", "seen_at")):
        await conn.execute(
            f"UPDATE metrics.{table} SET {column} = {column} - make_interval(secs => $1)", seconds
        )


async def drain(leases: list[RateLeases], tenant: UUID, samples: int = 10) -> int:
    """What all processes together take in turn until each is refused."""
    taken, taking = 0, set(leases)
    while taking:
        for one in tuple(taking):
            if await one.take(tenant, RATE, samples):
                taking.remove(one)
            else:
                taken += samples
    return taken


async def test_the_rate_is_one_for_all_processes(store_url: str) -> None:
    """Together they take the burst, and then what the rate gives: not more, and not less when they
    want it; what lies in a lease is the other's after the lease.
    """
    async with processes(store_url, 2) as hub:
        tenant, taken = uuid4(), 0
        for step in range(20):
            taken += await drain(hub.leases, tenant)
            assert taken <= RATE[1] + RATE[0] * step * 20 + SLACK
            await hub.passes(20.0)
        taken += await drain(hub.leases, tenant)
        assert taken >= RATE[1] + RATE[0] * 20 * 20 - 2 * 10


async def test_one_process_alone_has_all_of_the_rate(store_url: str) -> None:
    """What other processes leased and did not use is back after two leases' time."""
    async with processes(store_url, 2) as hub:
        tenant = uuid4()
        busy, idle = hub.leases
        for _ in range(20):
            assert await idle.take(tenant, RATE, 5) == 0.0
            await hub.passes(0.2)
        leased = await hub.conn.fetchval(LEASED, tenant)
        assert leased > 0
        first = await drain([busy], tenant)
        assert first <= RATE[1] - leased
        await hub.passes(2 * LEASE_S + 1)
        assert await drain([busy], tenant) >= leased - 10


async def test_a_process_that_dies_gives_its_lease_back_and_no_more(store_url: str) -> None:
    """What it used of its lease may pass once more: at most one lease, a quarter of the burst."""
    async with processes(store_url, 2) as hub:
        tenant, taken = uuid4(), 0
        dead, alive = hub.leases
        while not (lease := await hub.conn.fetchval(LEASED, tenant)):
            assert await dead.take(tenant, RATE, 40) == 0.0
            taken += 40
        assert lease <= RATE[1] / 4
        await hub.passes(2 * LEASE_S + 1)
        taken += await drain([alive], tenant)
        assert RATE[1] - 10 <= taken <= RATE[1] + RATE[0] * 30 + lease


async def test_whatever_happens_no_more_passes_than_is_stated(store_url: str) -> None:
    """Takes, samples given back, pauses and deaths of three processes in any order: at most the
    burst, the rate, and the leases of those that died; at the end the whole burst is there again.
    """
    random = Random(24)
    async with processes(store_url, 3) as hub:
        tenant, passed, stated = uuid4(), 0.0, RATE[1] + SLACK
        for _ in range(600):
            at = random.randrange(3)
            match random.randrange(12):
                case 0:
                    pause_s = random.choice([0.05, 0.5, 3.0, 10.0])
                    stated += RATE[0] * pause_s
                    await hub.passes(pause_s)
                case 1:
                    stated += await hub.conn.fetchval(LEASED, tenant)
                    hub.leases[at] = RateLeases(hub.leases[at]._shared, hub.clock)
                case _:
                    samples = random.choice([1, 7, 40, 300])
                    if not await hub.leases[at].take(tenant, RATE, samples):
                        refund = random.choice([0, 0, samples])
                        hub.leases[at].give_back(tenant, refund)
                        passed += samples - refund
            assert passed <= stated
        await hub.passes(200.0)
        assert await hub.leases[0].take(tenant, RATE, int(RATE[1])) == 0.0


async def test_a_decision_takes_no_longer_than_its_bound(store_url: str, monkeypatch) -> None:
    """While Postgres does not answer, senders are told so, however many wait; then it goes on."""

    def bound(seconds: float) -> None:
        monkeypatch.setattr(shared, "TIMEOUT_S", seconds)
        monkeypatch.setattr(rate_leases, "TIMEOUT_S", seconds)

    async with processes(store_url, 1) as hub:
        tenant, (leases,) = uuid4(), hub.leases
        assert await leases.take(tenant, RATE, 1) == 0.0
        bound(0.2)
        async with hub.conn.transaction():
            await hub.conn.execute("LOCK TABLE metrics.rate IN ACCESS EXCLUSIVE MODE")
            waiting = [leases.take(tenant, RATE, 500) for _ in range(5)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)

            # In a transaction the states of others stay as they were at the first look.
            async with catalogue.connected(store_url, "watch") as watch:

                async def is_over() -> bool:
                    return not await watch.fetchval(
                        f"SELECT count(*) {DECISIONS} AND state = 'active'"
                    )

                await until(is_over)
        bound(600.0)
        await hub.conn.fetch(f"SELECT pg_terminate_backend(pid) {DECISIONS}")

        async def is_taken() -> bool:
            with contextlib.suppress(DatabaseUnavailable):  # it may notice by the next statement
                return not float(await leases.take(tenant, RATE, 500))
            return False

        await until(is_taken)


async def test_a_known_rate_costs_no_round_trip_a_request(store_url: str) -> None:
    """Of a thousand requests in a lease's time a handful ask Postgres."""
    async with processes(store_url, 1) as hub:
        tenant, rate, asked = uuid4(), (100_000.0, 1_000_000.0), 0
        (leases,) = hub.leases
        fetchrow = leases._shared.fetchrow

        async def counted(*arguments):
            nonlocal asked
            asked += 1
            return await fetchrow(*arguments)

        leases._shared.fetchrow = counted
        for _ in range(1000):
            assert await leases.take(tenant, rate, 100) == 0.0
            await asyncio.sleep(0)
            hub.clock.now_s += LEASE_S / 1000
        assert asked <= 15


async def test_over_the_burst_passes_when_the_bucket_is_full(store_url: str) -> None:
    """It would never pass otherwise; the ones after it wait until it is paid."""
    async with processes(store_url, 2) as hub:
        tenant = uuid4()
        assert await hub.leases[0].take(tenant, RATE, 3000) == 0.0
        assert await hub.leases[1].take(tenant, RATE, 1) == pytest.approx(200.1, abs=30)
        await hub.passes(190.0)
        assert await hub.leases[1].take(tenant, RATE, 500) > 0.0
        await hub.passes(60.0)
        assert await hub.leases[1].take(tenant, RATE, 100) == 0.0


async def test_what_is_spared_is_there_for_others_at_once(store_url: str) -> None:
    """Who leaves some in the bucket takes no more than its own."""
    async with processes(store_url, 2) as hub:
        tenant, (importer, live) = uuid4(), hub.leases
        assert await importer.take(tenant, RATE, 100, spare=500.0) == 0.0
        assert await live.take(tenant, RATE, 850) == 0.0
        assert await importer.take(tenant, RATE, 1, spare=500.0) > 0.0


async def test_given_back_samples_can_be_taken_by_another(store_url: str) -> None:
    """Samples that we could not store cost nothing."""
    async with processes(store_url, 2) as hub:
        tenant = uuid4()
        assert await hub.leases[0].take(tenant, RATE, 1000) == 0.0
        hub.leases[0].give_back(tenant, 1000)
        assert await hub.leases[0].take(tenant, RATE, 1) == 0.0
        assert await hub.leases[1].take(tenant, RATE, 700) == 0.0


async def test_a_clock_that_is_set_back_refuses_for_no_longer_than_the_rate_says(
    store_url: str,
) -> None:
    """Samples come back at the rate from the new time on, and leases of the future with them."""
    async with processes(store_url, 2) as hub:
        tenant = uuid4()
        await drain(hub.leases, tenant)
        await shift(hub.conn, -1_000_000.0)
        await hub.passes(1.0)
        assert await hub.leases[0].take(tenant, RATE, 500) > 0.0
        await hub.passes(60.0)
        assert await hub.leases[0].take(tenant, RATE, 500) == 0.0


async def test_the_rate_holds_for_pipelines_and_over_a_restart(store_url: str) -> None:
    """Two pipelines store the burst together and refuse exactly the rest, counted; a third one,
    started later, finds the bucket as empty as it is.
    """
    tenant, at = uuid4(), now_ms()
    limits = Limits(samples_per_s=1, burst_samples=40)
    accepted = limited = 0
    request = body(("a", [(at + i, float(i)) for i in range(10)]))
    async with write_path(store_url) as one, write_path(store_url) as two:
        for path in (one, two) * 5:
            try:
                accepted += (await path.send(tenant, request, limits)).accepted
            except RateLimited:
                limited += 10
    async with write_path(store_url) as path:
        with pytest.raises(RateLimited):
            await path.send(tenant, body(("a", [(at, 1.0)] * 30)), limits)
        assert accepted == 40
        assert len(await stored(path.conn, tenant)) == 40
        assert await refused(path.conn, tenant) == {"rate_limited": limited + 30}


def pair(replica: str, *names: str, cluster: str = "c", at: int) -> bytes:
    """A request of one replica, a sample for each name."""
    external = [(b"__replica__", replica.encode()), (b"cluster", cluster.encode())]
    return wire.compressed(
        b"".join(
            wire.series([*external, (b"__name__", name.encode())], [(at, 1.0)]) for name in names
        )
    )


@contextlib.asynccontextmanager
async def two_services(url: str) -> AsyncIterator[SimpleNamespace]:
    """Two write paths on one Postgres with one clock, whose time `passes` when the test says so."""
    clock = TestClock()
    async with write_path(url, clock) as one, write_path(url, clock) as two:

        async def passes(seconds: float) -> None:
            clock.now_s += seconds
            await shift(one.conn, seconds)

        yield SimpleNamespace(paths=(one, two), passes=passes, conn=one.conn)


async def test_one_of_two_replicas_is_stored(store_url: str) -> None:
    """Whichever service they write to: the first is elected, all of the other's samples are
    accepted and dropped, and series are stored without the replica.
    """
    async with two_services(store_url) as hub:
        tenant, at = uuid4(), now_ms()
        for step in range(3):
            for path in hub.paths:
                outcome = await path.send(tenant, pair("a", "x", "y", at=at + step))
                assert (outcome.accepted, outcome.deduplicated) == (2, 0)
                outcome = await path.send(tenant, pair("b", "x", "y", "z", at=at + step))
                assert (outcome.accepted, outcome.deduplicated) == (0, 3)
                assert not outcome.refused
        assert {name for name, _, _ in await stored(hub.conn, tenant)} == {"x", "y"}
        labels = await hub.conn.fetch(SERIES, tenant)
        assert [row["labels"] for row in labels] == [
            '{"cluster": "c", "__name__": "x"}',
            '{"cluster": "c", "__name__": "y"}',
        ]


async def test_the_other_replica_takes_over_within_30_seconds(store_url: str) -> None:
    """When the elected one falls silent, also at the other service; not before, so that no two are
    stored at once; and who comes back is dropped.
    """
    async with two_services(store_url) as hub:
        tenant, at = uuid4(), now_ms()
        one, two = hub.paths
        accepted: dict[str, list[int]] = {"a": [], "b": []}
        for second in range(0, 90, 3):
            senders = [("b", two)] if 30 <= second < 60 else [("a", one), ("b", two)]
            for replica, path in senders:
                outcome = await path.send(tenant, pair(replica, "x", at=at + second))
                assert outcome.accepted + outcome.deduplicated == 1
                if outcome.accepted:
                    accepted[replica].append(second)
            await hub.passes(3.0)
        assert accepted["a"] == list(range(0, 30, 3))
        assert accepted["b"] == list(range(accepted["b"][0], 90, 3))
        assert 27 + 15 <= accepted["b"][0] <= 27 + 30
        times = [ts - at for _, ts, _ in await stored(hub.conn, tenant)]
        assert sorted(times) == accepted["a"] + accepted["b"], "none twice"


async def test_history_of_any_replica_is_stored_and_elects_nobody(store_url: str) -> None:
    """Also while no replica sends; the elected one goes on as before."""
    async with two_services(store_url) as hub:
        tenant, at = uuid4(), now_ms()
        one, two = hub.paths
        assert (await one.send(tenant, pair("a", "x", at=at))).accepted == 1
        for age in (1, 2):
            history = remote_write.decode(pair("b", "x", at=at - age), BOUNDS)
            outcome = await two.pipeline.ingest(tenant, history, FREE, "import", is_history=True)
            assert (outcome.accepted, outcome.deduplicated) == (1, 0)
            await hub.passes(60.0)
        assert (await one.send(tenant, pair("a", "x", at=at + 1))).accepted == 1
        labels = await hub.conn.fetch(SERIES, tenant)
        assert [row["labels"] for row in labels] == ['{"cluster": "c", "__name__": "x"}']


async def test_a_request_may_mix_replicas_clusters_and_neither(store_url: str) -> None:
    """Each series is judged by its own labels, known or new: accepted, refused and deduplicated
    make received.
    """
    async with two_services(store_url) as hub:
        tenant, at = uuid4(), now_ms()
        await hub.paths[0].send(tenant, pair("a", "x", at=at))
        mixed = wire.compressed(
            b"".join(
                wire.series([(name, value) for name, value in labels], [(at + 1, 1.0), (5, 1.0)])
                for labels in (
                    [(b"__name__", b"x"), (b"cluster", b"c"), (b"__replica__", b"b")],
                    [(b"__name__", b"x"), (b"cluster", b"d"), (b"__replica__", b"b")],
                    [(b"__name__", b"x"), (b"cluster", b"c")],
                    [(b"__name__", b"x"), (b"__replica__", b"b")],
                    [(b"__name__", b"x"), (b"cluster", b"c"), (b"cluster", b"c")],
                )
            )
        )
        for _ in range(2):
            outcome = await hub.paths[0].send(tenant, mixed, Limits(retention_days=1))
            assert outcome.deduplicated == 1
            assert outcome.refused == {"too_old": 5, "invalid_labels": 1}
            assert outcome.accepted == 3
        assert len(await stored(hub.conn, tenant)) == 1 + 2 * 3


async def test_clusters_have_a_bound(store_url: str) -> None:
    """What is over it is refused and counted, with an example; those within go on."""
    async with two_services(store_url) as hub:
        tenant, at = uuid4(), now_ms()
        for _ in range(2):
            for cluster in ("c", "d"):
                request = pair("a", "x", cluster=cluster, at=at)
                assert (await hub.paths[0].send(tenant, request)).accepted == 1
            outcome = await hub.paths[1].send(tenant, pair("a", "x", cluster="e", at=at))
            assert outcome.refused == {"too_many_replicas": 1}
        assert await refused(hub.conn, tenant) == {"too_many_replicas": 2}


async def test_a_replica_that_is_dropped_costs_no_series(store_url: str) -> None:
    """It is recognised without its labels being read again, and takes no room of the plan; elected,
    it is stored under the ids of the other.
    """
    async with two_services(store_url) as hub:
        tenant, at, limits = uuid4(), now_ms(), Limits(active_series=2, samples_per_s=1000)
        path = hub.paths[0]
        for step in range(3):
            await path.send(tenant, pair("a", "x", "y", at=at + step), limits)
            outcome = await path.send(tenant, pair("b", "x", "y", at=at + step), limits)
            assert outcome.deduplicated == 2
        series = path.cache.of(tenant, path.writer.series_epoch(tenant))
        assert len(series) == 4
        assert len(series.active_ids(1 << 40, 1 << 40)) == 2
        await hub.passes(60.0)
        outcome = await path.send(tenant, pair("b", "x", "y", at=at + 9), limits)
        assert outcome.accepted == 2
        assert len(await hub.conn.fetch(SERIES, tenant)) == 2


async def test_histograms_and_exemplars_of_a_dropped_replica_are_counted(store_url: str) -> None:
    """Of each kind, so that its sender can be told that all is written."""
    async with two_services(store_url) as hub:
        tenant, at, path = uuid4(), now_ms(), hub.paths[0]
        for replica in (b"a", b"b"):
            request, labels = wire.WriteRequest(), {"__name__": b"x", "cluster": b"c"}
            labels["__replica__"] = replica
            series = request.timeseries.add(
                labels=[{"name": name.encode(), "value": labels[name]} for name in sorted(labels)],
                exemplars=[{"value": 1.0, "timestamp": at}],
            )
            series.histograms.add().ParseFromString(histogram(timestamp=at).SerializeToString())
            outcome = await path.send(tenant, wire.compressed(request.SerializeToString()))
            stored_kinds = outcome.accepted, outcome.histograms, outcome.exemplars
            dropped_kinds = (
                outcome.deduplicated,
                outcome.deduplicated_histograms,
                outcome.deduplicated_exemplars,
            )
            nothing, all_kinds = (0, 0, 0), (1, 1, 1)
            expected = (all_kinds, nothing) if replica == b"a" else (nothing, all_kinds)
            assert (stored_kinds, dropped_kinds) == expected
