"""1,000 rules, each minute, by one evaluator: whether they are on schedule, and what they cost.

    .venv/bin/python benchmarks/bench_rules.py [--rules 1000] [--minutes 2]

A Postgres of its own; user-billing-service and data-ingest-service are stand-ins in this process
(`tests/rules_world.py`) that store nothing, so that the figures are the evaluator's alone: its CPU
and memory, in its own process. 20 hosts report 50 counters each 15 s, half of the rules record,
half alert, ten in a group.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

import asyncpg
import psutil

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / name) for name in ("tests", "")]

from embedded_postgres import execute, fresh_database, running_postgres  # noqa: E402
from factories import SCHEMA, Ingest  # noqa: E402
from rules_world import World, decoded, running  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402

from data_api import migrate  # noqa: E402
from data_api.rules import parsing  # noqa: E402
from data_api.rules.repository import Rules  # noqa: E402
from data_api.store.catalogue import Database  # noqa: E402

HOSTS, COUNTERS, RULES_A_GROUP = 20, 50, 10


class Counting(World):
    """It counts what is written."""

    samples = requests = 0

    async def write(self, request: Request) -> Response:
        """The samples were counted."""
        self.samples += len(decoded(await request.body()))
        self.requests += 1
        return Response(status_code=204)


def group(number: int) -> parsing.Group:
    """Ten rules about one counter each, half of each kind."""
    rules = []
    for n in range(RULES_A_GROUP):
        counter = f"counter_{(number * RULES_A_GROUP + n) % COUNTERS}"
        rate = f"sum by (job) (rate({counter}[5m]))"
        head = f"record: 'job:{counter}:rate{number}'" if n % 2 else f"alert: Alert{n}\n  for: 5m"
        rules.append(f"- {head}\n  expr: {rate}{'' if n % 2 else ' > 10'}\n")
    return parsing.parse(f"name: g{number}\nrules:\n{''.join(rules)}", "bench")[0][0]


async def fill(ingest: Ingest, tenant: uuid.UUID, first_ms: int, last_ms: int) -> None:
    """The counters in [first, last), each 15 s."""
    times = range(first_ms, last_ms, 15_000)
    for counter in range(COUNTERS):
        for host in range(HOSTS):
            labels = {"__name__": f"counter_{counter}", "job": f"j{host % 4}", "host": f"h{host}"}
            await ingest.write(tenant, labels, [(ms, (ms - first_ms) / 500) for ms in times])


async def measure(arguments: argparse.Namespace, url: str, folder: Path) -> None:
    """The evaluator ran for the minutes; its figures are printed."""
    tenant, now_ms = uuid.uuid4(), int(time.time() * 1000)
    connection = await asyncpg.connect(url)
    ingest = Ingest(connection, folder)
    end_ms = now_ms + (arguments.minutes + 2) * 60_000
    await fill(ingest, tenant, now_ms - 600_000, end_ms)
    async with Database(url, 2) as database:
        groups = [group(n) for n in range(arguments.rules // RULES_A_GROUP)]
        await Rules(database, parsing.Bounds()).put(tenant, "bench", groups, whole=True)
    world = Counting(url, folder)
    with running(world):
        environment = os.environ | {
            "DATABASE_URL": url, "OBJECT_STORE_URL": folder.as_uri(), "UBS_URL": world.url,
            "DIS_URL": world.url, "SERVICE_TOKEN": "s" * 43, "LOG_LEVEL": "warning",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "data_api.rules", env=environment
        )
        watched = psutil.Process(process.pid)
        query = "SELECT count(*), min(evaluated_ms) FROM rules.rule_group WHERE evaluated_ms > $1"
        while (await connection.fetchrow(query, now_ms - 60_000))[0] < len(groups):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(5)  # every group was evaluated once: from here on it is steady
        before, began_s, samples = sum(watched.cpu_times()[:2]), time.monotonic(), world.samples
        await asyncio.sleep(arguments.minutes * 60)
        elapsed_s = time.monotonic() - began_s
        cpu_s = sum(watched.cpu_times()[:2]) - before
        row = await connection.fetchrow(
            "SELECT sum(missed) AS missed, sum(failing) AS failing,"
            " max(extract(epoch FROM now()) * 1000 - evaluated_ms) AS oldest FROM rules.rule_group"
        )
        rss = watched.memory_info().rss
        process.terminate()
        await process.wait()
    await connection.close()
    print(
        f"{arguments.rules} rules at 1 min for {elapsed_s:.0f} s:"
        f" {100 * cpu_s / elapsed_s:.1f} % of a core,"
        f" {1000 * cpu_s / elapsed_s * 60 / arguments.rules:.2f} ms a rule;"
        f" missed {row['missed']}, failing {row['failing']}, oldest evaluation"
        f" {row['oldest'] / 1000:.1f} s; {world.samples - samples} samples written;"
        f" {rss / 2**20:.0f} MiB"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--minutes", type=int, default=2)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres() as server,
        fresh_database(server, "bench") as url,
    ):
        execute(url, SCHEMA)
        migrate.upgrade(url)
        asyncio.run(measure(arguments, url, Path(folder)))


if __name__ == "__main__":
    main()
