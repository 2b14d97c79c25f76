"""Results as callers get them, of a real Postgres: bytes and seconds of a whole one, ms of a top.

    PYTHONPATH=.:tests .venv/bin/python benchmarks/bench_result.py

The service answers over ASGI in this process, so a figure has no network in it. The first request
pays for the import of Arrow. Random walks with noise: harder to pack than most real series.
"""

import statistics
import time

import anyio
import httpx
import numpy as np
from asgi_lifespan import LifespanManager
from embedded_postgres import fresh_database, running_postgres
from neighbours import Neighbours, api_key
from stored import ASKED, NOW, finish

from analysis_processing import migrate
from analysis_processing.analyses.block import Part, SeriesResult
from analysis_processing.app import create_app
from analysis_processing.chassis import telemetry
from analysis_processing.jobs.results import encode
from analysis_processing.settings import Settings

CHUNK = 128
KEY = {"X-API-Key": api_key("a")}


def parts(series: int, steps: int) -> list[Part]:
    """Chunks whose columns are what a detector gives: a level, a band around it, a score."""
    rng = np.random.default_rng(1)
    made = []
    for first in range(0, series, CHUNK):
        rows = min(CHUNK, series - first)
        level = 50 + np.cumsum(rng.normal(scale=0.05, size=(rows, steps)), axis=1)
        sigma = rng.uniform(0.5, 2.0, size=(rows, 1))
        values = level + sigma * rng.normal(size=(rows, steps))
        reach = 6 * sigma * np.exp(np.cumsum(rng.normal(scale=0.002, size=(rows, steps)), axis=1))
        columns = {
            "values": values,
            "expected": level,
            "lower": level - reach,
            "upper": level + reach,
            "score": np.abs(values - level) / sigma,
        }
        results = [
            SeriesResult(
                {"__name__": "up", "host": f"host-{first + row}"},
                float(columns["score"][row].max()),
                columns={name: block[row] for name, block in columns.items()},
            )
            for row in range(rows)
        ]
        made.append(Part(0, 60_000, steps, results))
    return made


async def measure(app: object, jobs: dict[str, list[Part]]) -> None:
    """Prints a line a figure."""
    transport = httpx.ASGITransport(app=app)
    async with (
        LifespanManager(app, startup_timeout=60),
        httpx.AsyncClient(transport=transport, base_url="http://aps", headers=KEY) as client,
    ):
        for name, made in jobs.items():
            job = (await client.post("/api/v1/jobs", json=ASKED | {"query": name})).json()
            finish(app.state.services.engine, job["id"], made, NOW)
            path = f"/api/v1/jobs/{job['id']}/result"
            queries = ["format=arrow"] * 3 + ["top=20"] * 20 + ["top=20&columns=false"] * 20
            queries += ["format=parquet", "format=csv"] if name == "2 M points" else []
            times: dict[str, list[float]] = {}
            for query in queries:
                began_s = time.perf_counter()
                answer = await client.get(f"{path}?{query}")
                times.setdefault(query, []).append(time.perf_counter() - began_s)
                size = len(answer.content)
                assert answer.status_code == 200
                if len(times[query]) == queries.count(query):
                    best, middle = min(times[query]), statistics.median(times[query])
                    print(
                        f"{name:22} {query:22} {size / 1e6:8.2f} MB "
                        f"best {best * 1e3:7.1f} ms, median {middle * 1e3:7.1f} ms"
                    )


def main() -> None:
    """Two jobs: 500 series × 4,000 steps, and 10,000 series × 200 steps."""
    telemetry.configure("aps", "warning")
    whole = parts(500, 4_000)
    began_s = time.process_time()
    size = sum(len(encode(part)) for part in whole)
    print(f"encoded: {size / 1e6:.2f} MB, {time.process_time() - began_s:.2f} CPU s")
    jobs = {"2 M points": whole, "10,000 series": parts(10_000, 200)}
    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        settings = Settings(
            database_url=url,
            service_token="a-service-token-of-43-characters-for-tests-",
            ubs_url="http://ubs.test",
            das_url="http://das.test",
            dis_url="http://dis.test",
        )
        app = create_app(settings, http=Neighbours().client())
        anyio.run(measure, app, jobs)


if __name__ == "__main__":
    main()
