"""Log-ins per second, their CPU and what they leave in memory, over HTTP, with real hashing.

    PYTHONPATH=.:tests:benchmarks .venv/bin/python benchmarks/bench_log_in.py [log-ins] [clients…]
    LIGHT=1 …       hashes of 64 KiB and one pass: what memory does after many log-ins, in minutes

One service process on the embedded Postgres; each client logs the owner in on its own connection,
with the cookie of a browser that did so before. Prints for each number of clients log-ins/s, p50
and p95, and CPU of the service for one; then its anonymous memory idle, after the first tenth of
the log-ins, and after all.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

from bench_introspect import TOKEN, wait_ready
from embedded_postgres import fresh_database, running_postgres

from user_billing import migrate

HEAVY = "import runpy; runpy.run_module('user_billing', run_name='__main__')"
LIGHT = f"from user_billing.people import passwords as p; p.MEMORY_KIB, p.PASSES = 64, 1; {HEAVY}"
EMAIL, PASSWORD = "owner@example.org", "a phrase of several words"


def log_in(port: int, log_ins: int, into: list[float]) -> None:
    """Latencies in ms of `log_ins` log-ins on one connection."""
    connection = HTTPConnection("127.0.0.1", port)
    body = json.dumps({"email": EMAIL, "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    for _ in range(log_ins):
        started = time.perf_counter()
        connection.request("POST", "/api/v1/login", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        into.append((time.perf_counter() - started) * 1e3)
        assert answer.status == 200, text
        cookies = [line.partition(";")[0] for line in answer.headers.get_all("set-cookie", [])]
        headers["Cookie"] = next(one for one in cookies if "-device=" in one)
    connection.close()


def cpu_s(pid: int) -> float:
    """CPU that the process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous_mib(pid: int) -> float:
    """Memory that is the process's own: no file's, and not shared."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Anonymous:")).split()[1]) / 1024


def measure(port: int, pid: int, log_ins: int, clients: int) -> None:
    """Prints what `log_ins` by `clients` at once take."""
    latencies: list[float] = []
    threads = [
        threading.Thread(target=log_in, args=(port, log_ins // clients, latencies))
        for _ in range(clients)
    ]
    cpu, started = cpu_s(pid), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - started, cpu_s(pid) - cpu
    cuts = statistics.quantiles(latencies, n=100)
    print(
        f"{len(latencies)} log-ins, {clients} client(s): {len(latencies) / elapsed:.1f}/s,"
        f" p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, CPU {cpu / len(latencies) * 1e3:.1f} ms"
    )


def main() -> None:
    """Runs the benchmark."""
    log_ins = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    clients = [int(number) for number in sys.argv[2:]] or [1, 4]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running_postgres() as server, fresh_database(server, "bench") as url:
        migrate.upgrade(url)
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "SERVICE_TOKEN": TOKEN,
            "UBS_SECRET_KEY": "k" * 43,
            "UBS_BOOTSTRAP_EMAIL": EMAIL,
            "UBS_BOOTSTRAP_PASSWORD": PASSWORD,
            "UBS_PLAIN_HTTP": "true",
            "PORT": str(port),
        }
        command = [sys.executable, "-c", LIGHT if "LIGHT" in os.environ else HEAVY]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as service:
            try:
                wait_ready(port)
                print(f"idle: {anonymous_mib(service.pid):.1f} MiB anonymous")
                for number in clients:
                    log_in(port, 10 * number, [])
                    measure(port, service.pid, log_ins // 10, number)
                    print(f"then: {anonymous_mib(service.pid):.1f} MiB")
                    measure(port, service.pid, log_ins - log_ins // 10, number)
                    print(f"then: {anonymous_mib(service.pid):.1f} MiB")
            finally:
                service.terminate()


if __name__ == "__main__":
    main()
