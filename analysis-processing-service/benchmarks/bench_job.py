"""From a question to its stored result: seconds and peak memory, over a das that answers at once.

    .venv/bin/python benchmarks/bench_job.py day          1,000 series × 1 day at 15 s
    .venv/bin/python benchmarks/bench_job.py week         10,000 series × 1 week at 1 min
    … --kind anomaly    --lost 40: the process is lost after so many parts, then run again
    … --dask tcp://127.0.0.1:8786

Postgres is real, with its own memory; the answers of das are made in this process, within the peak.
"""

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import numpy as np
import pyarrow as pa
from sqlalchemy import Engine

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from embedded_postgres import fresh_database, running_postgres  # noqa: E402  beside the tests
from job_world import settings_of  # noqa: E402
from neighbours import TENANT_A  # noqa: E402

from analysis_processing import migrate  # noqa: E402
from analysis_processing.analyses import resolved_params  # noqa: E402
from analysis_processing.clients.data_api import DataApi  # noqa: E402
from analysis_processing.clients.data_ingest import DataIngest  # noqa: E402
from analysis_processing.clients.http import Door  # noqa: E402
from analysis_processing.jobs import claims, repository  # noqa: E402
from analysis_processing.jobs.chunks import Outcome  # noqa: E402
from analysis_processing.jobs.database import engine_for  # noqa: E402
from analysis_processing.jobs.executors import Executor, executor_for  # noqa: E402
from analysis_processing.jobs.runner import Runner  # noqa: E402
from analysis_processing.model import Claim, Request  # noqa: E402

CASES = {"day": (1_000, 5_760, 15_000), "week": (10_000, 10_080, 60_000)}
BATCH_ROWS = 100


def values(first: int, rows: int, start: int, steps: int) -> np.ndarray:
    """Samples that are the same whenever they are asked for: a wave, noise, and a spike each."""
    series = np.arange(first, first + rows, dtype=np.uint32)[:, None]
    step = np.arange(start, start + steps, dtype=np.uint32)[None, :]
    mixed = (series * np.uint32(2_654_435_761)) ^ (step * np.uint32(2_246_822_519))
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2_654_435_769)
    noise = (mixed >> np.uint32(8)).astype(np.float64) / 2.0**24
    return np.sin(step / 229.0 + series) * 5.0 + noise + 100.0 * (step % 4_999 == series % 4_999)


def answering(series: int, step_ms: int) -> httpx.MockTransport:
    """Das and dis: query_range_arrow from `values`, anything else is empty."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/query_range_arrow":
            return httpx.Response(200, json={"data": {}})
        form = {name: text[0] for name, text in parse_qs(request.content.decode()).items()}
        start_ms, end_ms = (round(float(form[name]) * 1000) for name in ("start", "end"))
        steps = (end_ms - start_ms) // step_ms + 1
        facts = {"start_ms": start_ms, "step_ms": step_ms, "steps": steps}
        metadata = {name: str(value) for name, value in facts.items()} | {"warnings": "[]"}
        labels_type, values_type = pa.map_(pa.string(), pa.string()), pa.list_(pa.float64(), steps)
        schema = pa.schema([("metric", labels_type), ("values", values_type)], metadata)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            for first in range(0, series, BATCH_ROWS):
                labels = [[("host", f"{n:05}")] for n in range(first, first + BATCH_ROWS)]
                block = values(first, BATCH_ROWS, start_ms // step_ms, steps)
                column = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), steps)
                metric = pa.array(labels, labels_type)
                writer.write_batch(pa.record_batch([metric, column], schema=schema))
        return httpx.Response(200, content=sink.getvalue().to_pybytes())

    return httpx.MockTransport(answer)


def lossy(executor: Any, parts: int) -> Any:
    """The executor, until it has computed so many parts."""
    run, left = executor.run, iter(range(parts))

    async def limited(*args: Any) -> Outcome:
        if next(left, None) is None:
            raise claims.LeaseLost
        return await run(*args)

    executor.run = limited
    return executor


BOUNDS = {"series_max": 10_000, "points_max": 110_000_000, "block_bytes_max": 2**30}


def main() -> None:
    """Print the seconds of each attempt, the summary and the peak."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--kind", default="anomaly")
    parser.add_argument("--lost", type=int)
    parser.add_argument("--dask")
    options = parser.parse_args()
    series, steps, step_ms = CASES[options.case]
    params = resolved_params(options.kind, {}, step_ms)
    request = Request(options.kind, "q", 0, (steps - 1) * step_ms, step_ms, params)

    async def run(engine: Engine, claim: Claim, parts: int | None) -> None:
        @asynccontextmanager
        async def executor() -> AsyncIterator[Executor]:
            async with executor_for(options.dask) as made:
                yield made if parts is None else lossy(made, parts)

        async def token() -> str:
            return "t"

        async with httpx.AsyncClient(transport=answering(series, step_ms)) as http:
            door = Door("neighbour", "http://n.test", http, token)
            runner = Runner(
                engine=engine,
                clock=claims.database_clock,
                settings=settings_of(
                    series_max=10_000, points_max=110_000_000, block_bytes_max=2**30
                ),
                monotonic=time.monotonic,
                data_api=lambda _claim: DataApi(door),
                data_ingest=lambda _claim: DataIngest(door),
                executor=executor,
            )
            await runner.run(claim)

    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        engine, now = engine_for(url), datetime.now(UTC)
        with engine.begin() as db:
            job, _ = repository.submit(db, TENANT_A, request, "key:x", now=now, unfinished_max=9)
        for parts in [None] if options.lost is None else [options.lost, None]:
            with engine.begin() as db:
                claim = claims.claim(db, "w", datetime.now(UTC), 900, 4)
            began_s = time.monotonic()
            try:
                anyio.run(run, engine, claim, parts)
            except claims.LeaseLost:
                with engine.begin() as db:
                    claims.give_back(db, claim, datetime.now(UTC))
            gc.collect()  # as the child does after each job
            print(f"{'all' if parts is None else parts} parts: {time.monotonic() - began_s:.1f} s")
        with engine.begin() as db:
            job = repository.get(db, TENANT_A, job.id)
            size = db.exec_driver_sql("SELECT sum(length(payload)) FROM analysis.chunk").scalar()
        print(job.state, job.error, json.dumps(job.summary)[:300])
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"stored {size / 1e6:.1f} MB, peak {used.ru_maxrss / 2**20:.2f} GiB")
        print(f"{used.ru_utime + used.ru_stime:.1f} s of CPU, all that was imported included")
        engine.dispose()


if __name__ == "__main__":
    main()
