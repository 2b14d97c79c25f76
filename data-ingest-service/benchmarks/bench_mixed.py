"""A steady mixed load on a running hub: writes, churn and queries at once; is all of it flat?

    python benchmarks/bench_mixed.py http://127.0.0.1:8080 "$API_KEY" MINUTES SERIES <pid of the
    run> [more pids]

Remote_write through the hub's door: a sample of each series each 5 s (100,000 series: 20,000 a
second), 10 metrics a host, 2,000 samples a request, 4 connections. Hosts are replaced by new ones,
5 % of them an hour. A write has its time, whatever became of those before, and its latency counts
from then. Beside it four queries each second. `accepted` are samples answered 204, `throttled` 429,
`refused` all others; the first answer that is an error is printed. A process counts with its
children; PSS is memory with shared pages once.
"""

import contextlib
import itertools
import json
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import cramjam
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_remote_write import CONSTANT, request, varint  # type: ignore[import-not-found]
from bench_write_path import HEADERS, cpu_s  # type: ignore[import-not-found]

CONNECTIONS, SAMPLES, METRICS, INTERVAL_S, CHURN_AN_HOUR = 4, 2_000, 10, 5.0, 0.05
FIRST_HOST = 1_000_000_000
QUERIES = (
    "query?query=" + quote("sum by (run) (rate(cpu_metric_1[1m]))"),
    "query?query=" + quote("topk(5, cpu_metric_2)"),
    "query?query=" + quote("quantile(0.99, cpu_metric_3)"),
    "query_range?step=15&start={start}&end={end}&query="
    + quote('avg(cpu_metric_4{hostname=~"host_100000001."})'),
)


def line(minute: object, answers: list[tuple[str, float]], cores: float, pss_mb: float) -> str:
    """One row of the table. answers: what became of each request, and the seconds until then."""
    count = Counter(outcome for outcome, _ in answers)
    text = "".join(f"{count[one] * SAMPLES:>11,}" for one in ("accepted", "refused", "throttled"))
    for is_query in (False, True):
        latencies_s = [s for outcome, s in answers if (outcome == "query") == is_query]
        p50, p99 = np.percentile(latencies_s or [np.nan], [50, 99]) * 1000
        text += f"{p50:>9.1f}{p99:>9.1f}"
    return f"{minute!s:>6}{text}{cores:>6.2f}{pss_mb:>7.0f}"


class Load:
    """The senders. `answers`: see `line`."""

    def __init__(self, url: str, key: str, series: int) -> None:
        self._address = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port
        self._headers = {**HEADERS, "Authorization": f"Bearer {key}"}
        self.answers: list[tuple[str, float]] = []
        self.first_refusal = ""
        self.ended = threading.Event()
        self._requests = series // SAMPLES
        self._hosts = FIRST_HOST + np.arange(series // METRICS).reshape(self._requests, -1)
        CONSTANT.update(__name__="cpu_metric_0", run=f"{time.time_ns() % 10**9:09}")
        message = request([0.0] * SAMPLES, [int(time.time() * 1000)] * SAMPLES, FIRST_HOST)
        self._rows = np.frombuffer(message, np.uint8).reshape(SAMPLES, -1)
        self._host_at = bytes(self._rows[0]).index(str(FIRST_HOST).encode())
        self._metric_at = bytes(self._rows[0]).index(b"cpu_metric_") + len("cpu_metric_")

    def write(self, connection: int, started_s: float) -> None:
        """Every CONNECTIONS-th request of each interval, on one connection, until `ended`."""
        rng, rows = np.random.default_rng(connection), self._rows.copy()
        conn = HTTPConnection(*self._address, timeout=60)
        rows[:, self._metric_at] = 48 + np.arange(SAMPLES) % METRICS
        for turn in itertools.count(connection, CONNECTIONS):
            due_s = started_s + turn * INTERVAL_S / self._requests
            hosts = self._hosts[turn % self._requests]
            replaced = rng.random(hosts.size) < CHURN_AN_HOUR * INTERVAL_S / 3600
            hosts[replaced] += self._hosts.size  # a number that no other host has had
            digits = 48 + np.repeat(hosts, METRICS)[:, None] // 10 ** np.arange(9, -1, -1) % 10
            rows[:, self._host_at : self._host_at + 10] = digits
            values = rng.uniform(0, 100, SAMPLES).round(2)
            rows[:, -15:-7] = values.view(np.uint8).reshape(-1, 8)
            rows[:, -6:] = np.frombuffer(varint(int(due_s * 1000)), np.uint8)
            body = bytes(cramjam.snappy.compress_raw(rows.tobytes()))
            if self.ended.wait(due_s - time.time()):
                return
            status = self._ask(conn, "POST", "dis/api/v1/write", body)[0]
            outcome = {204: "accepted", 429: "throttled"}.get(status, "refused")
            self.answers.append((outcome, time.time() - due_s))

    def query(self, started_s: float) -> None:
        """Each second all of QUERIES, one after another, until `ended`."""
        conn, due_s = HTTPConnection(*self._address, timeout=60), started_s
        while not self.ended.wait(due_s - time.time()):
            for query in QUERIES:
                asked_s = time.time()
                path = query.format(start=int(asked_s) - 900, end=int(asked_s))
                status, text = self._ask(conn, "GET", f"das/api/v1/{path}")
                assert status != HTTPStatus.OK or json.loads(text)["data"]["result"], path
                self.answers.append(("query", time.time() - asked_s))
            due_s = max(due_s + 1.0, time.time())

    def _ask(self, conn: Any, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        """Status and text of the answer; the first that is no success is kept."""
        conn.request(method, f"/api/{path}", body, self._headers)
        answer = conn.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status >= HTTPStatus.BAD_REQUEST and not self.first_refusal:
            self.first_refusal = f"{path}: {answer.status} {text[:300]}"
        return answer.status, text


def pss_mb(pids: list[int]) -> float:
    """Of these processes and their children."""
    total = 0
    for pid in pids:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                total += one.memory_full_info().pss
    return total / 1e6


def main() -> None:
    """Print a line a minute, and one of all."""
    url, key, minutes, series = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pids, load = [int(pid) for pid in sys.argv[5:]], Load(url, key, series)
    started_s = time.time() + 1.0
    senders = [threading.Thread(target=load.write, args=(i, started_s)) for i in range(CONNECTIONS)]
    senders.append(threading.Thread(target=load.query, args=(started_s + 4 * INTERVAL_S,)))
    print(
        "minute   accepted    refused  throttled  ack p50   p99 ms  qry p50   p99 ms cores PSS MiB"
    )
    for sender in senders:
        sender.start()
    used_s, printed = [cpu_s(pids)], 0
    for minute in range(1, minutes + 1):
        time.sleep(max(0.0, started_s + minute * 60 - time.time()))
        used_s.append(cpu_s(pids))
        answers = load.answers[printed:]
        printed += len(answers)
        print(line(minute, answers, (used_s[-1] - used_s[-2]) / 60, pss_mb(pids)), flush=True)
    load.ended.set()
    cores = (used_s[-1] - used_s[0]) / 60 / minutes
    print(line("all", load.answers, cores, pss_mb(pids)), load.first_refusal)


if __name__ == "__main__":
    main()
