"""Laws of the schema: it comes up, goes down and comes up again, however many try at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_ingest import migrate
from tests.embedded_postgres import execute, fresh_database

HERE = Path(__file__).resolve().parent.parent.parent
TABLES = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'metrics'"


def test_up_down_and_up_again(postgres):
    """Going down leaves nothing of the store but its version table, and up works again."""
    with fresh_database(postgres, "updown") as url:
        migrate.upgrade(url)
        assert execute(url, TABLES) == "16"
        migrate.upgrade(url)
        migrate.downgrade(url, "base")
        assert execute(url, TABLES) == "1"
        migrate.upgrade(url)
        assert execute(url, TABLES) == "16"


def test_many_at_once(postgres):
    """Several processes that migrate at the same time all succeed."""
    command = [sys.executable, "-m", "data_ingest.migrate"]
    with fresh_database(postgres, "many") as url, ThreadPoolExecutor(3) as pool:
        runs = list(
            pool.map(
                lambda _: subprocess.run(
                    command, cwd=HERE, env={"DATABASE_URL": url}, check=False, timeout=600
                ),
                range(3),
            )
        )
        assert [done.returncode for done in runs] == [0, 0, 0]
        assert execute(url, TABLES) == "16"


def test_what_was_stored_before_there_was_retention_is_not_old(postgres):
    """The samples of a series from before may reach up to its upgrade, and ten minutes beyond."""
    with fresh_database(postgres, "before") as url:
        migrate.upgrade(url)
        migrate.downgrade(url, "0005_scrape_jobs")
        execute(
            url,
            "INSERT INTO metrics.series (tenant_id, labels, labels_hash)"
            " VALUES (gen_random_uuid(), '{}', decode(repeat('00', 16), 'hex'))",
        )
        migrate.upgrade(url)
        ahead = "SELECT last_ms - extract(epoch FROM now()) * 1000 >= 86400000 FROM metrics.series"
        assert execute(url, ahead) == "t"


def test_payloads_are_not_compressed_twice(store_url):
    """The payload column is EXTERNAL in the parent, where partitions take it from."""
    storage = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'metrics.batch'::regclass"
    assert execute(store_url, f"{storage} AND attname = 'payload'") == "e"
