"""Latency of `POST /internal/introspect`, over HTTP, against the embedded Postgres.

    PYTHONPATH=.:tests .venv/bin/python benchmarks/bench_introspect.py [requests] [clients]

One service process, `clients` connections kept alive; each request is a known, live key, read from
the database each time. Prints p50, p95, p99 in ms and requests/s.
"""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

from embedded_postgres import fresh_database, running_postgres

from user_billing import migrate
from user_billing.keys.format import new_api_key

TOKEN = "service-token-of-the-benchmark-0123456789"
KEY = new_api_key()


def measure(port: int, requests: int, into: list[float]) -> None:
    """Latencies in ms of `requests` introspections on one connection."""
    connection = HTTPConnection("127.0.0.1", port)
    body = b'{"key":"%s"}' % KEY.encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("POST", "/internal/introspect", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        into.append((time.perf_counter() - started) * 1e3)
        assert answer.status == 200, text
        assert b'"active":true' in text, text
    connection.close()


def wait_ready(port: int) -> None:
    """Returns when the service is ready."""
    for _ in range(600):
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit("the service did not become ready")


def main() -> None:
    """Runs the benchmark."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "SERVICE_TOKEN": TOKEN,
            "UBS_SECRET_KEY": "k" * 43,
            "UBS_BOOTSTRAP_API_KEY": KEY,
            "PORT": str(port),
            "LOG_LEVEL": "info",
        }
        command = [sys.executable, "-m", "user_billing"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as service:
            try:
                wait_ready(port)
                measure(port, 200, [])
                taken: list[float] = []
                threads = [
                    threading.Thread(target=measure, args=(port, requests // clients, taken))
                    for _ in range(clients)
                ]
                started = time.perf_counter()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                elapsed = time.perf_counter() - started
            finally:
                service.terminate()
    cuts = statistics.quantiles(taken, n=100)
    print(
        f"{len(taken)} introspections, {clients} client(s): p50 {cuts[49]:.2f} ms,"
        f" p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms, {len(taken) / elapsed:.0f}/s"
    )


if __name__ == "__main__":
    main()
