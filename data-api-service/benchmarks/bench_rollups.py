"""Queries of long ranges over a store that is there: wall time cold and warm, and rows read.

    python -m benchmarks.bench_rollups DATABASE_URL OBJECTS_FOLDER START_MS END_MS

Run by data-ingest-service's benchmark of the same name, before and after it rolled up.
"""

import asyncio
import sys
import time
import uuid
from pathlib import Path

from data_api.admission import SamplePool
from data_api.chassis.identity import Limits
from data_api.chassis.objects import Directory
from data_api.engine import Engine, EngineLimits
from data_api.model import QueryLimits, RangeMatrix, Result
from data_api.store.block import BlockReader
from data_api.store.catalogue import Catalogue, Database
from data_api.store.reader import Store
from data_api.store.rollups import RollupReader
from data_api.turns import Turns

TENANT = uuid.UUID(int=1)
MIB = 1 << 20
HOUR_MS = 3_600_000
QUERIES = (
    ("min_over_time(x_total[2h])", 2 * HOUR_MS),
    ("max_over_time(x_total[2h])", 2 * HOUR_MS),
    ("avg_over_time(x_total[2h])", 2 * HOUR_MS),
    ("rate(x_total[1h])", 2 * HOUR_MS),
    ("x_total", 2 * HOUR_MS),
    ("sum_over_time(x_total[1d])", 24 * HOUR_MS),
    ("max_over_time(x_total[5m])", 300_000),
    ('max_over_time(x_total{n="7"}[5m])', 300_000),
)


def taken(result: Result, _: QueryLimits) -> str:
    """What there is to say of the answer."""
    assert isinstance(result.value, RangeMatrix)
    is_rolled = any("rollups" in info for info in result.infos)
    return f"{result.value.present.sum():,} values" + (", of rollups" if is_rolled else "")


async def measure(url: str, folder: str, start_ms: int, end_ms: int) -> None:
    """Prints a line a query."""
    objects = Directory(Path(folder))
    for query, step_ms in QUERIES:
        async with Database(url, 2) as database:
            store = Store(
                Catalogue(database, 512 * MIB),
                BlockReader(objects, 512 * MIB),
                objects,
                RollupReader(objects, 128 * MIB),
            )
            limits = EngineLimits(100_000_000, 512 * MIB, 4, 120, 10, 300_000)
            pool = SamplePool(200_000_000)
            engine = Engine(store, limits, Turns(2), pool, 10, now_ms=lambda: end_ms)
            first_ms = start_ms + step_ms
            steps = (first_ms, first_ms + (end_ms - first_ms) // step_ms * step_ms, step_ms)
            walls = []
            for _ in range(3):
                began_s = time.perf_counter()
                async with engine.query(TENANT, Limits(), query, steps, taken) as said:
                    walls.append((time.perf_counter() - began_s, said))
            engine.close()
        (cold_s, said), (warm_s, _) = walls[0], min(walls[1:])
        print(f"  {query:36} cold {cold_s:7.3f} s, warm {warm_s:7.3f} s: {said}", flush=True)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
