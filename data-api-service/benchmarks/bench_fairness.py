"""What one tenant's queries do to another's: the victim's latency alone and beside hostile ones.

    python benchmarks/bench_fairness.py [--seconds 20] [--clients 20] [--rounds 2]

The hostile tenant keeps `--clients` requests in flight, from a process of its own: nested label
functions, a huge alternation, cross joins, quantiles over everything, 900 and 250 matchers, 11,000
steps, and every fourth request abandoned after 0.3 s. The victim asks 5 queries a
second, whatever becomes of the earlier ones. Quiet and hostile times alternate; clients, Postgres
and service share the machine.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
from bench_query import KEY, SCHEMA, STEP_MS, TENANT, TENANTS, Ingest, execute, make_key, service
from embedded_postgres import fresh_database, running_postgres
from factories import encode_batch

VICTIM_KEY = make_key()
VICTIM = uuid.uuid4()
TENANTS[VICTIM_KEY] = VICTIM
HOUR_S = 3600
PACE_S = 0.2
TIMEOUT_S = 120.0
KINDS = ("constant", "one series", "rate", "label values")
Call = tuple[str, dict[str, Any]]


async def fill(database_url: str, objects: Path, series: int) -> float:
    """An hour of both tenants at 10 s, the victim's a hundredth; the newest time in seconds."""
    connection = await asyncpg.connect(database_url)
    ingest = Ingest(connection, objects)
    now_ms = int(time.time() * 1000) // STEP_MS * STEP_MS
    for tenant, count in ((TENANT, series), (VICTIM, series // 100)):
        async with connection.transaction():
            ids = [
                await ingest.series(
                    tenant,
                    __name__=f"cpu_{n % 10}",
                    hostname=f"host_{n // 10}",
                    region=f"r{n // 10 % 5}",
                    os="linux",
                )
                for n in range(count)
            ]
        for at in range(now_ms - HOUR_S * 1000, now_ms + 1, STEP_MS):
            values = [float(n * 7919 + at // STEP_MS * 31 % 997) for n in range(count)]
            await connection.execute(
                """INSERT INTO metrics.batch (tenant_id, min_ts, max_ts, samples, payload)
                   VALUES ($1, $2, $2, $3, $4)""",
                tenant, at, count, encode_batch(ids, [at] * count, values),
            )  # fmt: skip
        await ingest.compact(tenant)
    await connection.close()
    return now_ms / 1000


def victim_calls(end_s: float) -> list[Call]:
    """What a dashboard asks: a constant, one series, a rate over an hour, label values."""
    hour = {"start": end_s - HOUR_S, "end": end_s, "step": 60}
    at = {"time": end_s}
    return [
        ("query", {"query": "vector(1)", **at}),
        ("query", {"query": 'cpu_1{hostname="host_1"}', **at}),
        ("query_range", {"query": "sum by (region) (rate(cpu_1[5m]))", **hour}),
        ("label/hostname/values", {}),
    ]


def hostile_calls(end_s: float) -> list[Call]:
    """Each kind of query that once stopped a neighbour."""
    hour = {"start": end_s - HOUR_S, "end": end_s, "step": 10}
    at = {"time": end_s}
    everything = '{__name__=~"cpu_.*"}'
    grown, joined = 'cpu_1{hostname="host_1"}', everything
    for _ in range(8):
        grown = f'label_replace({grown}, "os", "{"$1" * 8}", "os", "(.*)")'
    for level in range(12):
        joined = f'label_join({joined}, "l{level}", "-", "hostname", "region", "os")'
    names = "|".join(f"host_{n}x?" for n in range(3000))
    many, allowed = (",".join(f'hostname!~"x{n}.*y"' for n in range(count)) for count in (900, 250))
    return [
        ("query", {"query": grown, **at}),
        ("query", {"query": f"count({joined})", **at}),
        ("query_range", {"query": f'sum(rate(cpu_1{{hostname=~"{names}"}}[5m]))', **hour}),
        (
            "query_range",
            {"query": f"{everything} * on (hostname) group_left () cpu_1", **hour},
        ),
        (
            "query",
            {"query": f"count({everything} + on () group_left () topk(1, cpu_1))", **at},
        ),
        ("query_range", {"query": f"quantile_over_time(0.9, {everything}[30m])", **hour}),
        ("series", {"match[]": f"{{{many},os='linux'}}"}),
        ("series", {"match[]": f"{{{allowed},os='linux'}}"}),
        (
            "query_range",
            {"query": "cpu_1", "start": end_s - 11_000, "end": end_s, "step": 1},
        ),
        ("query", {"query": f"sort(sum by (hostname, __name__) ({everything}))", **at}),
    ]


def attack(door: tuple[str, str], end_s: float, clients: int, stop: Any, statuses: Any) -> None:
    """Keeps `clients` hostile requests in flight until `stop` is set; door: address and key."""
    base_url, key = door
    calls = hostile_calls(end_s)
    counts: Counter[str] = Counter()

    def one(number: int) -> None:
        with httpx.Client(base_url=base_url, headers={"X-API-Key": key}) as client:
            for turn, (path, params) in enumerate(cycle(calls[number % 8 :] + calls[: number % 8])):
                if stop.is_set():
                    return
                timeout = 0.3 if turn % 4 == 3 else 120
                try:
                    with client.stream(
                        "POST" if "query" in path or path == "series" else "GET",
                        f"/api/v1/{path}", data=params, timeout=timeout,
                    ) as answer:  # fmt: skip
                        size = sum(len(piece) for piece in answer.iter_raw())
                    counts[f"{answer.status_code}"] += 1
                    counts["MB"] += size // 1_000_000
                except httpx.TimeoutException:
                    counts["abandoned"] += 1
                except httpx.HTTPError:
                    counts["broken"] += 1

    threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    stop.wait()
    statuses.put(dict(counts))


async def ask_for(base_url: str, calls: Iterator[Call], seconds: float) -> list[float]:
    """The milliseconds of the victim's calls, one begun every PACE_S whatever became of others.

    A refused call counts as the client's longest wait.
    """

    async def one(client: httpx.AsyncClient, path: str, params: dict[str, Any]) -> float:
        started = time.perf_counter()
        answer = await client.get(f"/api/v1/{path}", params=params)
        if answer.status_code != 200:
            print(f"the victim was refused: {answer.text[:150]}")
            return TIMEOUT_S * 1000
        return (time.perf_counter() - started) * 1000

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(
        base_url=base_url, headers={"X-API-Key": VICTIM_KEY}, timeout=TIMEOUT_S, limits=limits
    ) as client:
        requests = []
        for _ in range(int(seconds / PACE_S) // len(KINDS) * len(KINDS)):
            requests.append(asyncio.create_task(one(client, *next(calls))))
            await asyncio.sleep(PACE_S)
        return await asyncio.gather(*requests)


def p95(taken: list[float]) -> float:
    """The 95th percentile."""
    return sorted(taken)[int(len(taken) * 0.95)]


def memory(process: psutil.Process) -> list[float]:
    """MiB of the service and each of its processes; pages that they share are divided."""
    sizes = []
    for one in (process, *process.children(recursive=True)):
        try:
            rollup = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        sizes.append(int(rollup.split("\nPss:")[1].split()[0]) / 1024)
    return sizes


def watch_memory(process: psutil.Process, peak: list[list[float]], stop: threading.Event) -> None:
    """Keeps the most memory seen in `peak`, by process, in MiB."""
    while not stop.wait(0.1):
        peak[0] = max(peak[0], memory(process), key=sum)


def scheduled(process: psutil.Process) -> tuple[float, float]:
    """Seconds that the event loop's thread has computed, and waited for a CPU."""
    computed, waited, _ = Path(f"/proc/{process.pid}/schedstat").read_text().split()
    return int(computed) / 1e9, int(waited) / 1e9


def main() -> None:
    """Prints the victim's latencies and the service's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres() as server,
        fresh_database(server, "bench") as database_url,
    ):
        execute(database_url, SCHEMA)
        end_s = asyncio.run(fill(database_url, Path(folder), args.series))
        with service(database_url, Path(folder)) as (probe, process):
            base_url = str(probe.base_url)
            calls = cycle(victim_calls(end_s))
            asyncio.run(ask_for(base_url, calls, 3))  # warm
            idle = memory(process)
            peak, done = [idle], threading.Event()
            threading.Thread(target=watch_memory, args=(process, peak, done), daemon=True).start()
            quiet: list[float] = []
            hostile: list[float] = []
            busy = [0.0, 0.0]
            answers: Counter[str] = Counter()
            context = multiprocessing.get_context("spawn")
            for _ in range(args.rounds):
                quiet += asyncio.run(ask_for(base_url, calls, args.seconds / 2))
                stop, statuses = context.Event(), context.Queue()
                attacker = context.Process(
                    target=attack,
                    args=((base_url, KEY), end_s, args.clients, stop, statuses),
                )
                attacker.start()
                time.sleep(2)
                before = scheduled(process)
                hostile += asyncio.run(ask_for(base_url, calls, args.seconds))
                after = scheduled(process)
                busy = [busy[at] + after[at] - before[at] for at in (0, 1)]
                stop.set()
                answers.update(statuses.get(timeout=30))
                attacker.kill()
                time.sleep(3)
            done.set()
            for name, every in (("quiet", quiet), ("hostile", hostile)):
                for kind in ("", *KINDS):
                    taken = [ms for at, ms in enumerate(every) if kind in ("", KINDS[at % 4])]
                    print(
                        f"{name:8} {kind:13} {len(taken):5} calls  p50 "
                        f"{statistics.median(taken):8.1f} ms  p95 {p95(taken):8.1f} ms  "
                        f"max {max(taken):8.1f} ms"
                    )
            print(
                f"p95 beside hostile queries: {p95(hostile) / p95(quiet):.1f} times the quiet one"
            )
            print(f"hostile answers: {dict(answers)}")
            by_process = " + ".join(f"{size:.0f}" for size in peak[0])
            print(
                f"memory of all processes: {sum(idle):.0f} MiB before, {sum(peak[0]):.0f} MiB at "
                f"most ({by_process})"
            )
            print(f"event loop: {busy[0]:.1f} s computed, {busy[1]:.1f} s waited for a CPU")


if __name__ == "__main__":
    main()
