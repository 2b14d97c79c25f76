"""Query latency of the whole service: real Postgres, real Parquet, `python -m data_api` over HTTP.

    python benchmarks/bench_query.py [--series 10000] [--hours 2] [--head-minutes 2]

Data: TSBS-like gauges (integers 0..100), one sample each 10 s; whole hours lie in one block an
hour, the newest minutes in the head, one batch a scrape. Each query is asked `--repeat` times after
one cold call; figures are milliseconds. Client and Postgres share the machine with the service.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import numpy as np
import psutil

SERVICE = Path(__file__).parent.parent
sys.path[:0] = [str(SERVICE), str(SERVICE / "tests")]

from embedded_postgres import execute, fresh_database, running_postgres  # noqa: E402
from factories import SCHEMA, Ingest, encode_batch  # noqa: E402

from data_api.chassis.identity.keys import checksum  # noqa: E402

STEP_MS = 10_000


def make_key() -> str:
    """A well-formed API key."""
    body = f"coh_live_{uuid.uuid4().hex}"
    return body + checksum(body)


KEY = make_key()
TENANT = uuid.uuid4()
TENANTS = {KEY: TENANT}


class Ubs(BaseHTTPRequestHandler):
    """Just enough of user-billing-service: the keys of TENANTS, nothing revoked."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        sent = self.rfile.read(length)
        body: dict[str, Any] = {"status": "ok", "seq": 0, "revocations": []}
        if self.path == "/internal/introspect":
            body = {
                "active": True,
                "key_id": str(uuid.uuid4()),
                "tenant": str(TENANTS[json.loads(sent)["key"]]),
                "scopes": ["metrics:read"],
                "expires_at": None,
                "ttl_s": 3600,
                "limits": {},
            }
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 - the base class's words

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def service(database_url: str, objects: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """The running service with a client of it."""
    ubs = ThreadingHTTPServer(("127.0.0.1", 0), Ubs)
    threading.Thread(target=ubs.serve_forever, daemon=True).start()
    with httpx.Client() as probe, ThreadingHTTPServer(("127.0.0.1", 0), Ubs) as taken:
        port = taken.server_port
        taken.server_close()
        env = os.environ | {
            "DATABASE_URL": database_url,
            "OBJECT_STORE_URL": objects.as_uri(),
            "UBS_URL": f"http://127.0.0.1:{ubs.server_port}",
            "SERVICE_TOKEN": "t" * 43,
            "PORT": str(port),
            "LOG_LEVEL": "warning",
        }
        process = subprocess.Popen([sys.executable, "-m", "data_api"], cwd=SERVICE, env=env)
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    if probe.get(f"{base}/ready").status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)
            else:
                raise SystemExit("the service was not ready in time")
            with httpx.Client(base_url=base, headers={"X-API-Key": KEY}, timeout=120) as client:
                yield client, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)
            ubs.shutdown()


async def fill(database_url: str, objects: Path, args: argparse.Namespace) -> int:
    """The data set; gives back the time of its newest sample."""
    connection = await asyncpg.connect(database_url)
    ingest = Ingest(connection, objects)
    hosts = max(1, args.series // 10)
    async with connection.transaction():
        ids = np.array(
            [
                await ingest.series(
                    TENANT,
                    __name__=f"cpu_{n % 10}",
                    hostname=f"host_{n // 10}",
                    region=f"r{n // 10 % 5}",
                    os="linux",
                )
                for n in range(args.series)
            ]
        )
    now_ms = int(time.time() * 1000) // STEP_MS * STEP_MS
    head_start = now_ms - args.head_minutes * 60_000
    rng = np.random.default_rng(1)
    level = rng.integers(0, 100, args.series)
    for hour in range(args.hours, 0, -1):
        start = head_start - hour * 3_600_000
        times = np.arange(start, start + 3_600_000, STEP_MS)
        walk = np.clip(
            level[:, None] + rng.integers(-1, 2, (args.series, times.size)).cumsum(1), 0, 100
        )
        level = walk[:, -1]
        rows = zip(
            np.repeat(ids, times.size).tolist(),
            np.tile(times, args.series).tolist(),
            walk.astype(float).ravel().tolist(),
            strict=True,
        )
        await ingest.block(TENANT, list(rows), 1)
    for at in range(head_start, now_ms + 1, STEP_MS):
        level = np.clip(level + rng.integers(-1, 2, args.series), 0, 100)
        await connection.execute(
            """INSERT INTO metrics.batch (tenant_id, min_ts, max_ts, samples, payload)
               VALUES ($1, $2, $2, $3, $4)""",
            TENANT, at, args.series,
            encode_batch(ids.tolist(), [at] * args.series, level.astype(float).tolist()),
        )  # fmt: skip
    await connection.close()
    print(f"{args.series} series of {hosts} hosts, {args.hours} h in blocks")
    return now_ms


def ask(client: httpx.Client, path: str, params: dict[str, Any]) -> httpx.Response:
    """One answered request."""
    answer = client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text[:500]
    return answer


def measure(
    client: httpx.Client, name: str, path: str, params: dict[str, Any], repeat: int
) -> None:
    """Prints the cold latency, p50 and p95 of one query."""
    taken = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        answer = ask(client, path, params)
        taken.append((time.perf_counter() - started) * 1000)
    warm = sorted(taken[1:])
    p95 = warm[min(len(warm) - 1, int(len(warm) * 0.95))]
    print(
        f"| {name} | {taken[0]:.1f} | {statistics.median(warm):.1f} | {p95:.1f} "
        f"| {len(answer.content) / 1024:.0f} |"
    )


async def freshness(client: httpx.Client, database_url: str, repeat: int) -> None:
    """From a commit's return to the answer that holds its sample, new series each time."""
    connection = await asyncpg.connect(database_url)
    ingest = Ingest(connection, Path("/nonexistent"))
    taken = []
    for n in range(repeat):
        now_ms = int(time.time() * 1000)
        await ingest.write(TENANT, {"__name__": "fresh", "n": str(n)}, [(now_ms, float(n))])
        started = time.perf_counter()
        answer = await asyncio.to_thread(ask, client, "query", {"query": f'fresh{{n="{n}"}}'})
        taken.append((time.perf_counter() - started) * 1000)
        assert len(answer.json()["data"]["result"]) == 1, "a committed sample was not seen"
    await connection.close()
    taken.sort()
    print(
        f"committed → answered, first try always: p50 {statistics.median(taken):.1f} ms, "
        f"p95 {taken[int(len(taken) * 0.95)]:.1f} ms, max {taken[-1]:.1f} ms"
    )


async def burst(client: httpx.Client, end_s: float) -> None:
    """A dashboard of twenty panels sent at once over eight connections."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(
        base_url=client.base_url, headers=client.headers, limits=limits, timeout=60
    ) as many:

        async def panel(n: int) -> None:
            params = {
                "query": f'avg by (region) (rate(cpu_{n % 10}{{hostname=~"host_[0-9]"}}[1m]))',
                "start": end_s - 900, "end": end_s, "step": 15,
            }  # fmt: skip
            (await many.get("/api/v1/query_range", params=params)).raise_for_status()

        await asyncio.gather(*(panel(n) for n in range(20)))
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            await asyncio.gather(*(panel(n) for n in range(20)))
            taken.append((time.perf_counter() - started) * 1000)
    print(f"twenty panels at once: {statistics.median(taken):.0f} ms for all")


def main() -> None:
    """Fills, asks and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=2)
    parser.add_argument("--head-minutes", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=20)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres() as server,
        fresh_database(server, "bench") as database_url,
    ):
        objects = Path(folder)
        execute(database_url, SCHEMA)
        end_s = asyncio.run(fill(database_url, objects, args)) / 1000
        size = sum(path.stat().st_size for path in objects.rglob("*.parquet"))
        samples = args.series * args.hours * 360
        if samples:
            print(f"blocks: {size / samples:.2f} bytes a sample")
        with service(database_url, objects) as (client, process):
            ask(client, "query", {"query": "1+1"})
            rss = process.memory_info().rss / 2**20
            print(
                f"idle: {rss:.0f} MiB\n\n| query | cold ms | p50 | p95 | KiB |\n"
                "| --- | --- | --- | --- | --- |"
            )
            hour = {"start": end_s - 3600, "end": end_s, "step": 60}
            whole = {"start": end_s - args.hours * 3600, "end": end_s, "step": 60}
            one = 'cpu_1{hostname="host_3"}'
            peak = 'max_over_time(cpu_1{hostname=~"host_[0-9]"}[5m])'
            rate = "sum by (region) (rate(cpu_1[5m]))"
            all_ = 'max by (hostname) ({__name__=~"cpu_.*"})'
            narrow = {"match[]": 'cpu_1{region="r1"}', "start": end_s - 3600, "end": end_s}
            for name, path, params in (
                ("instant, one series", "query", {"query": one}),
                ("instant, sum over one metric", "query", {"query": "sum(cpu_1)"}),
                ("1 series, 1 h", "query_range", {"query": one, **hour}),
                ("max_over_time[5m], 10 hosts, 1 h", "query_range", {"query": peak, **hour}),
                (
                    "sum by (region)(rate[5m]) of a metric, 1 h",
                    "query_range",
                    {"query": rate, **hour},
                ),
                ("every series of a metric drawn, 1 h", "query_range", {"query": "cpu_1", **hour}),
                (
                    "all series, max by (hostname), all hours",
                    "query_range",
                    {"query": all_, **whole},
                ),
                ("label values of hostname", "label/hostname/values", {}),
                ("label values, matcher and span", "label/hostname/values", narrow),
                ("series of one metric", "series", {"match[]": "cpu_1"}),
            ):
                measure(client, name, path, params, args.repeat)
            print()
            asyncio.run(freshness(client, database_url, 50))
            asyncio.run(burst(client, end_s))
            print(f"after all: {process.memory_info().rss / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
