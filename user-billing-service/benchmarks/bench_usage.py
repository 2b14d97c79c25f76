"""Rows of usage that are accepted in a second, over HTTP, against the embedded Postgres.

    PYTHONPATH=.:tests:benchmarks .venv/bin/python benchmarks/bench_usage.py [requests]

One service process and one connection. Events: batches of 1,000 CloudEvents of one organisation,
new ones, then the same again. Hours: reports of dis, 100 a request of 3 meters each, of as many
organisations, and of one.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from uuid import UUID

from bench_introspect import wait_ready
from embedded_postgres import execute, fresh_database, running_postgres

from user_billing import migrate
from user_billing.identifiers import new_id
from user_billing.keys.format import new_api_key
from user_billing.usage.events import BATCH

TOKEN = "service-token-of-the-benchmark-0123456789"
KEY = new_api_key()
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
ORGANISATIONS = 100
MINUTES = [1_000 + minute for minute in range(60)]


def batches(requests: int) -> list[list[dict[str, Any]]]:
    """Events of a shop's calls, spread over a day."""
    return [
        [
            {
                "specversion": "1.0", "source": "shop", "id": f"{request}-{n:04}", "type": "calls",
                "time": (NOW - timedelta(minutes=n)).isoformat(), "data": {"value": f"{n}.25"},
            }
            for n in range(1_000)
        ]
        for request in range(requests)
    ]  # fmt: skip


def reports(tenants: list[UUID], requests: int) -> Iterator[dict[str, Any]]:
    """Requests of 100 hours, 3 meters each: an hour each of many tenants, or 100 of one."""
    for request in range(requests):
        hours = [
            {
                "tenant": str(tenants[n % len(tenants)]), "revision": 1,
                "hour": (datetime(2026, 1, 1, tzinfo=UTC)
                         + timedelta(hours=request * 100 + n)).isoformat(),
                "meters": {
                    "samples": {"quantity": "12345678"},
                    "active_series": {"minutes": MINUTES},
                    "stored_bytes": {"quantity": "987654321.5"},
                },
            }
            for n in range(100)
        ]  # fmt: skip
        yield {"source": "dis", "reports": hours}


def measure(port: int, path: str, bodies: list[bytes], headers: dict[str, str]) -> float:
    """Seconds of all requests, one after the other."""
    connection = HTTPConnection("127.0.0.1", port)
    started = time.perf_counter()
    for body in bodies:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        assert b'"conflict"' not in text
        assert b'"refused"' not in text
    connection.close()
    return time.perf_counter() - started


def main() -> None:
    """Runs the benchmark."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        tenants = [new_id() for _ in range(ORGANISATIONS)]
        rows = ",".join(f"('{one}', 'Bench', '{one.hex}', 'showback', now())" for one in tenants)
        execute(url, f"INSERT INTO billing.organisation VALUES {rows}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {
            **os.environ, "DATABASE_URL": url, "SERVICE_TOKEN": TOKEN, "PORT": str(port),
            "UBS_SECRET_KEY": "secret-key-of-the-benchmark-0123456789ab",
            "UBS_BOOTSTRAP_API_KEY": KEY, "LOG_LEVEL": "warning",
        }  # fmt: skip
        service = subprocess.Popen([sys.executable, "-m", "user_billing"], env=environment)
        try:
            wait_ready(port)
            execute(
                url,
                "INSERT INTO billing.meter SELECT home_org, 'calls', 'calls', 'sum', '', now()"
                " FROM billing.setup",
            )
            key = {"X-API-Key": KEY, "Content-Type": BATCH}
            bodies = [json.dumps(batch).encode() for batch in batches(requests)]
            for name in ("events, new", "events, the same again"):
                took_s = measure(port, "/api/v1/usage/events", bodies, key)
                print(f"{name}: {requests * 1_000 / took_s:,.0f} rows/s")
            service_headers = {
                "Authorization": f"Bearer {TOKEN}",
                "Content-Type": "application/json",
            }
            for name, of in (
                ("of 100 organisations", tenants),
                ("of one organisation", tenants[:1]),
            ):
                bodies = [json.dumps(body).encode() for body in reports(of, requests)]
                took_s = measure(port, "/internal/usage", bodies, service_headers)
                print(f"hours {name}: {requests * 300 / took_s:,.0f} rows/s")
        finally:
            service.terminate()
            service.wait(30)


if __name__ == "__main__":
    main()
