"""What the whole write path costs: CPU of the service for a million samples, 204 after the durable
commit, for 1, 4 and 16 connections and 500, 2,000 and 10,000 samples a request.

    python benchmarks/bench_write_path.py http://127.0.0.1:8001 "$API_KEY" <pid of the service> [pid
    of postgres]

11 labels a series, fresh values in each request. Requests are encoded before the clock starts; a
first round teaches the service its series and is not counted.
"""

import http.client
import itertools
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import cramjam
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_remote_write import request, varint  # type: ignore[import-not-found]

CONNECTIONS, SAMPLES = (1, 4, 16), (500, 2_000, 10_000)
SAMPLES_A_ROW = 800_000
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


def bodies(connection: int, samples: int, requests: int) -> list[bytes]:
    """One round to learn, then `requests` with fresh values and times."""
    rng = np.random.default_rng(connection)
    now_ms = int(time.time() * 1000)
    # Names of one length, so that each series is a row of bytes that ends with value and time.
    message = request([0.0] * samples, [now_ms] * samples, 100_000 + connection * samples)
    rows = np.frombuffer(bytearray(message), np.uint8).reshape(samples, -1)
    encoded = []
    for i in range(requests + 1):
        rows[:, -15:-7] = rng.uniform(0, 100, samples).round(2).view(np.uint8).reshape(-1, 8)
        rows[:, -6:] = np.frombuffer(varint(now_ms - (requests - i) * 1000), np.uint8)
        encoded.append(bytes(cramjam.snappy.compress_raw(rows.tobytes())))
    return encoded


def send(url: str, key: str, requests: list[bytes], latencies_s: list[float]) -> None:
    """One connection, one request after the other; anything but 204 ends it."""
    parts = urlsplit(url)
    conn = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=60)
    for body in requests:
        started_s = time.perf_counter()
        conn.request("POST", "/api/v1/write", body, {**HEADERS, "Authorization": f"Bearer {key}"})
        answer = conn.getresponse()
        text = answer.read()
        assert answer.status == 204, (answer.status, text)
        latencies_s.append(time.perf_counter() - started_s)


def cpu_s(pids: list[int]) -> float:
    """CPU of these processes and their children, those that have ended included."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    own = sum(one.user + one.system + one.children_user + one.children_system for one in times)
    children = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    return own + sum(sum(child.cpu_times()[:2]) for child in children)


def main() -> None:
    """Print one line for each number of connections and size."""
    url, key, pids = sys.argv[1], sys.argv[2], [int(pid) for pid in sys.argv[3:]]
    print(f"{'connections':>11}{'samples':>9}{'CPU s/M':>9}{'M/s':>7}{'p50 ms':>8}{'p99 ms':>8}")
    for connections, samples in itertools.product(CONNECTIONS, SAMPLES):
        requests = SAMPLES_A_ROW // connections // samples
        prepared = [bodies(one, samples, requests) for one in range(connections)]
        for one in prepared:
            run(url, key, [one[:1]])
        before_s, started_s = cpu_s(pids), time.perf_counter()
        latencies_s = run(url, key, [one[1:] for one in prepared])
        elapsed_s, used_s = time.perf_counter() - started_s, cpu_s(pids) - before_s
        millions = len(latencies_s) * samples / 1e6
        p50, p99 = np.percentile(latencies_s, [50, 99]) * 1000
        print(
            f"{connections:>11}{samples:>9}{used_s / millions:>9.2f}{millions / elapsed_s:>7.2f}"
            f"{p50:>8.1f}{p99:>8.1f}"
        )


def run(url: str, key: str, prepared: list[list[bytes]]) -> list[float]:
    """Seconds of each request; a thread and a connection for each list of bodies."""
    latencies_s: list[float] = []
    threads = [threading.Thread(target=send, args=(url, key, one, latencies_s)) for one in prepared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies_s


if __name__ == "__main__":
    main()
