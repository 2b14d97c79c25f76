"""Laws of a store that is replaced under a running service: by a promoted replica, or by a copy.

The address is a folder whose socket is a link to the socket of one server or another.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from data_ingest import migrate
from data_ingest.errors import StoreUnavailable
from tests.embedded_postgres import execute, own_postgres
from tests.write_path import body, is_up, kill_writer, now_ms, stored, until, write_path

SOCKET = ".s.PGSQL.5432"
LOST = "cloudopshub_ingest_lost_samples_total"
SENDERS = 4
SAMPLES_A_PHASE = 200


def socket_folder(server_url: str) -> Path:
    return Path(parse_qs(urlsplit(server_url).query)["host"][0])


class Address:
    """A database URL that stays the same while it leads to one server or another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://postgres@/dis?host={quote(str(folder))}"

    def lead_to(self, server_url: str) -> None:
        fresh = self.folder / "next"
        fresh.symlink_to(socket_folder(server_url) / SOCKET)
        fresh.replace(self.folder / SOCKET)


@pytest.fixture
def primary() -> Iterator[str]:
    with own_postgres() as url:
        yield url


@pytest.fixture
def address(primary: str, tmp_path: Path) -> Address:
    """It leads to the primary, which has the schema."""
    address = Address(tmp_path)
    address.lead_to(primary)
    execute(primary, "CREATE DATABASE dis")
    migrate.upgrade(address.url)
    return address


def copy(primary: str, *options: str) -> contextlib.AbstractContextManager[str]:
    return own_postgres("--copy-of", str(socket_folder(primary)), *options)


def lost() -> float:
    return REGISTRY.get_sample_value(LOST) or 0.0


async def test_a_database_set_back_to_a_copy_is_noticed(primary, address):
    """After a copy taken earlier has taken the database's place, every acknowledged sample has its
    series, and what the copy does not have is told, though cluster, timeline and tables are the
    same.
    """
    tenant, at = uuid4(), now_ms()
    async with write_path(address.url) as path:
        await path.send(tenant, body(("kept", [(at, 0.0)])))
        with copy(primary) as earlier:
            await path.send(tenant, body(("gone", [(at, 1.0), (at + 1, 1.0)])))
            before, epoch = lost(), path.writer.store_epoch
            address.lead_to(earlier)
            async with write_path(address.url) as other:
                await kill_writer(path.conn)
                await until(partial(is_replaced, path, epoch))
                for series in ("kept", "gone"):
                    await path.send(tenant, body((series, [(at + 2, 2.0)])))
                assert await stored(other.conn, tenant) == [
                    ("kept", at, 0.0),
                    ("kept", at + 2, 2.0),
                    ("gone", at + 2, 2.0),
                ]
            assert lost() - before == 2.0


async def receives_nothing(standby: str) -> bool:
    return execute(standby, "SELECT count(*) FROM pg_stat_wal_receiver") == "0"


async def is_replaced(path: SimpleNamespace, epoch: int) -> bool:
    return path.writer.store_epoch != epoch and await is_up(path.writer)


async def test_a_standby_takes_no_writes_until_it_is_promoted(primary, address):
    """A standby is refused by name, however complete it is; once promoted it has another timeline,
    so nothing learnt before is used, and nothing is said to be lost.
    """
    tenant, at = uuid4(), now_ms()
    async with write_path(address.url) as path:
        await path.send(tenant, body(("up", [(at, 1.0)])))
        with copy(primary, "--standby") as standby:
            before, epoch = lost(), path.writer.store_epoch
            address.lead_to(standby)
            await kill_writer(path.conn)
            await until(partial(is_refused_as_standby, path))
            execute(standby, "SELECT pg_promote()")
            await until(partial(is_replaced, path, epoch))
            assert len(path.cache.of(tenant, (epoch, 0))) == 1
            await path.send(tenant, body(("up", [(at + 1, 2.0)])))
            assert lost() == before
            assert execute(socket_of(standby), "SELECT count(*) FROM metrics.series") == "1"


def socket_of(server_url: str) -> str:
    return server_url.replace("/postgres?", "/dis?")


async def is_refused_as_standby(path: SimpleNamespace) -> bool:
    try:
        await path.writer.check()
    except StoreUnavailable as refusal:
        return "standby" in str(refusal)
    return False


class Ledger:
    """Senders that repeat a sample until it is acknowledged, and what was acknowledged so far."""

    def __init__(self, path: SimpleNamespace, tenant: UUID) -> None:
        self.path = path
        self.tenant = tenant
        self.acknowledged: list[tuple[str, int, float]] = []
        self.stopped = False

    async def send_until_stopped(self, sender: int) -> None:
        """One known series, and every third time a new one."""
        for n in itertools.count():
            at = now_ms()
            names = [f"sender_{sender}"] + [f"sender_{sender}_{n}"] * (n % 3 == 0)
            request = body(*((name, [(at, float(n))]) for name in names))
            while not self.stopped:
                try:
                    await self.path.send(self.tenant, request)
                except StoreUnavailable:
                    await asyncio.sleep(0.02)
                    continue
                self.acknowledged += [(name, at, float(n)) for name in names]
                break
            if self.stopped:
                return

    async def grows_by(self, samples: int) -> None:
        wanted = len(self.acknowledged) + samples

        async def has_grown() -> bool:
            return len(self.acknowledged) >= wanted

        await until(has_grown)


async def test_after_an_asynchronous_failover_under_load_no_acknowledged_sample_is_lost(
    primary, address
):
    """A replica that lags is promoted while senders write: every sample that was acknowledged after
    it is there, with its series; of those before exactly the ones that are not there are told.
    """
    tenant = uuid4()
    with contextlib.ExitStack() as servers:
        async with write_path(address.url) as path:
            ledger = Ledger(path, tenant)
            sending = [asyncio.create_task(ledger.send_until_stopped(n)) for n in range(SENDERS)]
            await ledger.grows_by(SAMPLES_A_PHASE)
            standby = servers.enter_context(copy(primary, "--standby"))
            await ledger.grows_by(SAMPLES_A_PHASE)
            # The replica gets nothing any more; the primary goes on acknowledging.
            execute(standby, "ALTER SYSTEM SET primary_conninfo = ''")
            execute(standby, "SELECT pg_reload_conf()")
            await until(partial(receives_nothing, standby))
            await ledger.grows_by(SAMPLES_A_PHASE)
            before, epoch = lost(), path.writer.store_epoch
            address.lead_to(standby)
            await kill_writer(path.conn)
            execute(standby, "SELECT pg_promote()")
            await until(partial(is_replaced, path, epoch))
            at_promotion = len(ledger.acknowledged)
            await ledger.grows_by(SAMPLES_A_PHASE)
            ledger.stopped = True
            await asyncio.gather(*sending)
            async with write_path(address.url) as new:
                there = set(await stored(new.conn, tenant))
        gone = [sample for sample in ledger.acknowledged if sample not in there]
        assert gone
        assert not set(gone) & set(ledger.acknowledged[at_promotion:])
        assert lost() - before == len(gone)
