"""An import whose process is killed goes on in another one, and loses and doubles nothing."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from data_ingest.background.supervisor import Stop
from data_ingest.imports.pieces import PIECE_BYTES
from data_ingest.imports.worker import Worker
from tests import exports
from tests.import_hub import NOW_MS, client_of, ended, new_key, running, submit
from tests.metric_store import opened_store
from tests.stored_values import bits_of
from tests.test_dis import HERE, free_port

WAIT_S = 600.0
SERIES, SAMPLES = 500, 100
# 20,000 samples and then one a second: it stands still within the second piece.
SLOW_PLAN = json.dumps({"samples_per_s": 1, "burst_samples": 80_000})
SET_PLAN = "UPDATE metrics.import SET limits = $1::jsonb, lease_until = now()"


@contextlib.contextmanager
def killed_process(database_url: str, folder: Path) -> Iterator[None]:
    """A service that works while the block runs, and is killed at its end."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "OBJECT_STORE_URL": f"file://{folder}",
        "UBS_URL": "http://127.0.0.1:1",
        "SERVICE_TOKEN": "t" * 43,
        "PORT": str(free_port()),
        "DIS_SCRAPE_HOST": "false",
        "DIS_COMPACTION_INTERVAL_S": "3600",
    }
    command = [sys.executable, "-m", "data_ingest"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=HERE, env=environment, stdout=quiet, stderr=quiet
    ) as started:
        try:
            yield
        finally:
            started.kill()


async def test_killed_in_the_middle(postgres, tmp_path):
    """After kill -9 another process goes on: each sample is stored and billed once, counts hold."""
    them = [
        (
            {"__name__": "up", "n": str(n)},
            [(NOW_MS - at * 1000, bits_of(at + n / 1000)) for at in range(SAMPLES)],
        )
        for n in range(SERIES)
    ]
    # Blank lines fill the first piece, so that all but one series are in the second.
    body = exports.ndjson(them[:1]) + b"\n" * PIECE_BYTES + exports.ndjson(them[1:])
    tenant = uuid4()
    async with (
        running(postgres, tmp_path, background=False) as hub,
        opened_store(hub.url, tmp_path) as store,
        client_of(hub.app, new_key(tenant)) as client,
    ):
        store.tenant = tenant
        import_id = (await submit(client, body))["id"]
        await store.conn.execute(SET_PLAN, SLOW_PLAN)
        with killed_process(hub.url, tmp_path):
            deadline = time.monotonic() + WAIT_S
            noted, committed = 0, 0
            while not 0 < noted < committed:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
                row = await store.conn.fetchrow(
                    "SELECT coalesce((progress->>'accepted')::int, 0) AS noted,"
                    " (SELECT coalesce(sum(samples), 0) FROM metrics.batch) AS committed"
                    " FROM metrics.import"
                )
                noted, committed = row["noted"], row["committed"]
        await store.conn.execute(SET_PLAN, "{}")
        stop = Stop()
        worker = Worker(hub.url, store.objects, "file:///", hub.app.state.services.pipeline)
        working = asyncio.create_task(worker.run(stop))
        job = await ended(client, import_id)
        stop.set()
        await working
        assert (job["state"], job["accepted"]) == ("succeeded", SERIES * SAMPLES)
        assert job["progress"] == {"bytes": len(body), "rows": body.count(b"\n")}
        sent = await store.conn.fetchval("SELECT sum(samples) FROM metrics.batch")
        assert sent > SERIES * SAMPLES  # the rows after the last progress came twice
        await store.compact()
        assert len(await store.read()) == await store.used() == SERIES * SAMPLES
