"""What rollups cost to make and to keep, and what queries of 30 days gain by them.

    python -m benchmarks.bench_rollups [--series 200] [--days 30] [--kind "gauge, 2 decimals"]

Blocks of two hours at 15 s, as compaction leaves them, in a Postgres and a folder of its own; then
data-api-service's own benchmark asks the same queries without rollups and with them. CPU seconds of
this process.
"""

import argparse
import asyncio
import subprocess
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.bench_compaction import KINDS
from data_ingest import migrate
from data_ingest.limits import DAY_MS
from data_ingest.rollups.rounds import roll_up_due
from data_ingest.store import catalogue
from data_ingest.store.block import SortedSamples
from data_ingest.store.objects import DirectoryObjects
from data_ingest.store.rewriting import write_block
from tests.embedded_postgres import fresh_database, running_postgres

TENANT = uuid.UUID(int=1)
STEP_MS = 15_000
WINDOW_MS = 7_200_000
END_MS = 20_000 * DAY_MS
READER = Path(__file__).resolve().parents[2] / "data-api-service"


async def fill(conn: Any, objects: DirectoryObjects, kind: str, series: int, days: int) -> int:
    """Blocks of `days` days before END_MS; their bytes."""
    steps = days * DAY_MS // STEP_MS
    values = KINDS[kind](np.random.default_rng(7), steps, series)
    for number in range(1, series + 1):
        await conn.execute(
            "INSERT INTO metrics.series (series_id, tenant_id, labels, labels_hash, last_ms)"
            " VALUES ($1, $2, $3::text::jsonb, $4, $5)",
            number,
            TENANT,
            f'{{"__name__":"x_total","n":"{number}"}}',
            number.to_bytes(16, "big"),
            END_MS,
        )
    a_window = WINDOW_MS // STEP_MS
    made = []
    for window in range(steps // a_window):
        part = values[window * a_window : (window + 1) * a_window]
        times = END_MS - days * DAY_MS + (np.arange(a_window) + window * a_window) * STEP_MS + 1
        piece = SortedSamples(
            np.arange(1, series + 1),
            np.arange(series + 1) * a_window,
            np.tile(times, series),
            np.ascontiguousarray(part.T).ravel(),
        )
        made += write_block(objects, TENANT, [piece], precedence=1, level=2, at_ms=int(times[0]))
    await catalogue.exchange(conn, TENANT, made, ())
    await conn.execute("UPDATE metrics.block SET created_at = now() - interval '1 day'")
    return sum(one.bytes for one in made)


async def measure(url: str, folder: Path, kind: str, series: int, days: int) -> None:
    """Prints the figures."""
    objects = DirectoryObjects(folder)
    async with catalogue.connected(url, "bench") as conn:
        raw = await fill(conn, objects, kind, series, days)
        samples = series * days * DAY_MS // STEP_MS
        print(f"{kind}: {samples:,} samples, blocks {raw / samples:.2f} bytes a sample", flush=True)
        ask(url, folder, days)
        started_s, now_ms = time.process_time(), max(END_MS + DAY_MS, int(time.time() * 1000))
        while await roll_up_due(conn, objects, [300_000, 3_600_000], None, now_ms):
            pass
        cpu_s = time.process_time() - started_s
        print(f"rolled up: {cpu_s / samples * 1e6:.3f} CPU s a million samples")
        for row in await conn.fetch(
            "SELECT resolution_ms, sum(bytes)::bigint AS bytes FROM metrics.block"
            " WHERE resolution_ms > 0 GROUP BY 1 ORDER BY 1"
        ):
            share = row["bytes"] / raw
            print(f"  {row['resolution_ms'] // 60_000} min: {share:.1%} of the bytes of the blocks")
        ask(url, folder, days)


def ask(url: str, folder: Path, days: int) -> None:
    """Runs the benchmark of the reader's folder with the reader's Python."""
    subprocess.run(
        [
            READER / ".venv/bin/python", "-m", "benchmarks.bench_rollups",
            url, folder, str(END_MS - days * DAY_MS), str(END_MS),
        ],
        cwd=READER,
        check=True,
    )  # fmt: skip


def main() -> None:
    """Parses the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--kind", choices=list(KINDS), default="gauge, 2 decimals")
    arguments = parser.parse_args()
    with (
        TemporaryDirectory() as folder,
        running_postgres() as server,
        fresh_database(server, "rollups") as url,
    ):
        migrate.upgrade(url)
        asyncio.run(measure(url, Path(folder), arguments.kind, arguments.series, arguments.days))


if __name__ == "__main__":
    main()
