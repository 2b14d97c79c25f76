"""A steady mixed load on a running hub: writes, churn and queries at once; is all of it flat?

    python benchmarks/bench_mixed.py http://127.0.0.1:8080 "$API_KEY" MINUTES SERIES <pid of the
    run> [more pids]

Remote_write by 4 connections through the hub's door: each series has a sample each 5 s (100,000
series: 20,000 samples/s), 10 metrics a host, 2,000 samples a request. Hosts are replaced by new
ones, 5 % of them an hour. Beside it four queries each second. A request has its time, whatever
became of those before, and its latency counts from then. A process counts with its children.
`accepted` are samples answered 204, `throttled` 429, `refused` all others, whose first answer is
printed. PSS has shared pages once, and no files that are only cached.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
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


class Counts:
    """What became of a time's requests: samples by outcome, and seconds until the answers."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()
        self.ack_s: list[float] = []
        self.query_s: list[float] = []

    def line(self, minute: object, cores: float, pss_mib: float) -> str:
        """One row of the table."""
        counted = [self.samples[one] for one in ("accepted", "refused", "throttled")]
        times = [np.percentile(one or [np.nan], [50, 99]) for one in (self.ack_s, self.query_s)]
        latencies = "".join(f"{ms:>9.1f}" for ms in np.concatenate(times) * 1000)
        numbers = "".join(f"{one:>11,}" for one in counted)
        return f"{minute!s:>6}{numbers}{latencies}{cores:>9.2f}{pss_mib:>6.0f}"


class Load:
    """The senders. `minute`: the counts of now, exchanged by who prints them."""

    def __init__(self, url: str, key: str, series: int) -> None:
        self._parts = urlsplit(url)
        self._headers = {"Authorization": f"Bearer {key}"}
        self.minute = Counts()
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
        rng, rows, conn = np.random.default_rng(connection), self._rows.copy(), self._connect()
        rows[:, self._metric_at] = 48 + np.arange(SAMPLES) % METRICS
        powers = 10 ** np.arange(9, -1, -1)
        turn = connection
        while not self.ended.is_set():
            due_s = started_s + turn * INTERVAL_S / self._requests
            hosts = self._hosts[turn % self._requests]
            replaced = rng.random(hosts.size) < CHURN_AN_HOUR * INTERVAL_S / 3600
            hosts[replaced] += self._hosts.size  # a number that no other host has had
            digits = 48 + np.repeat(hosts, METRICS)[:, None] // powers % 10
            rows[:, self._host_at : self._host_at + 10] = digits
            values = rng.uniform(0, 100, SAMPLES).round(2)
            rows[:, -15:-7] = values.view(np.uint8).reshape(-1, 8)
            if self.ended.wait(due_s - time.time()):
                break
            rows[:, -6:] = np.frombuffer(varint(int(due_s * 1000)), np.uint8)
            body = bytes(cramjam.snappy.compress_raw(rows.tobytes()))
            conn.request("POST", "/api/dis/api/v1/write", body, {**HEADERS, **self._headers})
            answer = conn.getresponse()
            text, minute = answer.read().decode(errors="replace"), self.minute
            minute.ack_s.append(time.time() - due_s)
            outcome = {204: "accepted", 429: "throttled"}.get(answer.status, "refused")
            minute.samples[outcome] += SAMPLES
            if outcome != "accepted":
                self.first_refusal = self.first_refusal or f"{answer.status}: {text[:300]}"
            turn += CONNECTIONS

    def query(self, started_s: float) -> None:
        """Each second all of QUERIES, one after another, until `ended`."""
        conn, due_s = self._connect(), started_s
        while not self.ended.wait(max(0.0, due_s - time.time())):
            for query in QUERIES:
                asked_s = time.time()
                path = query.format(start=int(asked_s) - 900, end=int(asked_s))
                conn.request("GET", f"/api/das/api/v1/{path}", headers=self._headers)
                answer = conn.getresponse()
                text = answer.read()
                if answer.status != http.HTTPStatus.OK or not json.loads(text)["data"]["result"]:
                    self.first_refusal = self.first_refusal or f"{path}: {text[:300]!r}"
                self.minute.query_s.append(time.time() - asked_s)
            due_s = max(due_s + 1.0, time.time())

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            self._parts.hostname or "127.0.0.1", self._parts.port, timeout=60
        )


def pss_mib(pids: list[int]) -> float:
    """Of these processes and their children."""
    kib = 0
    for pid in pids:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            try:
                lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def main() -> None:
    """Print a line a minute, and one of all."""
    url, key, minutes, series = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pids, load, whole = [int(pid) for pid in sys.argv[5:]], Load(url, key, series), Counts()
    started_s = time.time() + 1.0
    senders = [threading.Thread(target=load.write, args=(i, started_s)) for i in range(CONNECTIONS)]
    senders.append(threading.Thread(target=load.query, args=(started_s + 4 * INTERVAL_S,)))
    print(
        "minute   accepted    refused  throttled  ack p50      p99  qry p50      p99 ms cores PSS M"
    )
    for sender in senders:
        sender.start()
    first_s = before_s = cpu_s(pids)
    for minute in range(1, minutes + 1):
        time.sleep(max(0.0, started_s + minute * 60 - time.time()))
        last, load.minute = load.minute, Counts()
        used_s = cpu_s(pids)
        print(last.line(minute, (used_s - before_s) / 60, pss_mib(pids)), flush=True)
        before_s = used_s
        whole.ack_s += last.ack_s
        whole.query_s += last.query_s
        whole.samples += last.samples
    load.ended.set()
    print(whole.line("all", (before_s - first_s) / 60 / minutes, pss_mib(pids)), load.first_refusal)


if __name__ == "__main__":
    main()
