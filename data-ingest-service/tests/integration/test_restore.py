"""Laws of a dump restored into a fresh cluster, by the commands of the runbook as they stand."""

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from data_ingest import migrate
from data_ingest.store.objects import DirectoryObjects
from data_ingest.store.partitions import ensure_partitions, server_now
from tests.embedded_postgres import PSQL, ROOT, execute, own_postgres
from tests.metric_store import Store
from tests.write_path import write_path

RUNBOOK = ROOT / "docs" / "runbooks" / "backup-and-restore.md"
BATCHES = 103
USED = "DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


def run(part: str, **variables: str) -> str:
    """What the runbook's commands under the mark `part` print."""
    found = re.search(rf"<!-- tested: {part} -->\n```sh\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
    assert found is not None, part
    programs = next(ROOT.glob(PSQL)).parent
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": "/nonexistent", **variables}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found[1]],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stderr == ""
    return done.stdout


def database(server_url: str, name: str) -> str:
    """The URL of a new database of that server."""
    execute(server_url, f"CREATE DATABASE {name}")
    return server_url.replace("/postgres?", f"/{name}?")


async def shown(store: Store) -> dict[int, float]:
    """What das shows of the one series, by time."""
    read = await store.read()
    return {at: struct.unpack("<d", struct.pack("<Q", bits))[0] for (_, at), bits in read.items()}


@pytest.fixture(scope="module")
def fresh_server() -> Iterator[str]:
    with own_postgres() as url:
        yield url


@pytest.fixture(scope="module")
async def backup(tmp_path_factory) -> tuple[Path, UUID]:
    """A backup of a cluster that has given many transaction ids, and the tenant in it: times 0 to 3
    have the value 1 in a block, and 1 to 3 then 1 to BATCHES, in order, in batches.
    """
    folder = tmp_path_factory.mktemp("backup")
    with own_postgres() as server:
        url = database(server, "hub")
        migrate.upgrade(url)
        execute(url, USED)
        conn = await asyncpg.connect(url)
        await ensure_partitions(conn, await server_now(conn))
        store = Store(conn, DirectoryObjects(folder / "written"))
        await conn.execute(
            "INSERT INTO metrics.series (tenant_id, labels, labels_hash) VALUES ($1, '{}', $2)",
            store.tenant,
            bytes(16),
        )
        await store.commit(*((1, at, 1.0) for at in range(4)))
        await store.compact()
        for n in range(BATCHES):
            await store.commit(*((1, at, n + 1.0) for at in range(1, 4)))
        await conn.close()
        places = {"OBJECTS": str(folder / "written"), "BACKUP": str(folder)}
        run("backup", DATABASE_URL=url, **places)
    return folder, store.tenant


@pytest.mark.parametrize("wrote_first", [False, True], ids=["just_restored", "restored_long_ago"])
async def test_a_restored_store_keeps_the_order_of_samples(
    backup, fresh_server, tmp_path, wrote_first
):
    """In a fresh cluster, which gives lower transaction ids than the dump holds, an acknowledged
    correction is read, before and after compaction, and every restored batch is compacted; also
    where a service that knew nothing of it had gone on writing.
    """
    folder, tenant = backup
    url = database(fresh_server, f"restored_{wrote_first}".lower())
    objects = {"OBJECTS": str(tmp_path), "BACKUP": str(folder)}
    assert run("restore", DATABASE_URL=url, **objects) == ""
    conn = await asyncpg.connect(url)
    store = Store(conn, DirectoryObjects(tmp_path))
    store.tenant = tenant
    if wrote_first:
        await store.commit((1, 3, 500.0))
    async with write_path(url):
        expected = {0: 1.0, 1: 103.0, 2: 103.0, 3: 500.0 if wrote_first else 103.0}
        assert await shown(store) == expected
        await store.commit((1, 0, 900.0), (1, 1, 900.0))
    expected |= {0: 900.0, 1: 900.0}
    async with write_path(url):  # once more changes nothing
        assert await shown(store) == expected
    await store.compact()
    assert await shown(store) == expected
    live = "SELECT count(*) FROM metrics.batch WHERE compacted_by IS NULL"
    assert await conn.fetchval(live) == 0
    await conn.close()


async def test_a_missing_object_is_named_at_a_restore(backup, fresh_server, tmp_path):
    """The runbook's last command lists each block that the backup does not have."""
    folder, _ = backup
    (tmp_path / "backup" / "objects").mkdir(parents=True)
    (tmp_path / "backup" / "hub.dump").symlink_to(folder / "hub.dump")
    url = database(fresh_server, "without_objects")
    places = {"OBJECTS": str(tmp_path / "empty"), "BACKUP": str(tmp_path / "backup")}
    (line,) = run("restore", DATABASE_URL=url, **places).splitlines()
    assert re.fullmatch(r"missing: .*\.parquet", line)
