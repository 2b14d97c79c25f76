"""What the whole write path costs: CPU of the service for a million samples, 204 after the durable
commit.

    python benchmarks/bench_write_path.py http://127.0.0.1:8001 "$API_KEY" <pid of the service> [pid
    of postgres]

Four connections, 2,000 samples a request with 11 labels each, fresh values in each request.
Requests are encoded before the clock starts; a first round teaches the service its series and is
not counted.
"""

import http.client
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import cramjam
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_remote_write import request  # type: ignore[import-not-found]

CONNECTIONS, SAMPLES, REQUESTS = 4, 2_000, 40
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


def bodies(connection: int) -> list[bytes]:
    """One round to learn, then REQUESTS with fresh values and times."""
    rng = np.random.default_rng(connection)
    now_ms = int(time.time() * 1000)
    requests = []
    for i in range(REQUESTS + 1):
        values = rng.uniform(0, 100, SAMPLES).round(2)
        times = now_ms - (REQUESTS - i) * 1000 + rng.integers(0, 9, SAMPLES)
        message = request(values.tolist(), times.tolist(), connection * SAMPLES)
        requests.append(bytes(cramjam.snappy.compress_raw(message)))
    return requests


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
    """Print one line."""
    url, key, pids = sys.argv[1], sys.argv[2], [int(pid) for pid in sys.argv[3:]]
    prepared = [bodies(connection) for connection in range(CONNECTIONS)]
    latencies_s: list[float] = []
    for learn in (True, False):
        latencies_s.clear()
        before_s, started_s = cpu_s(pids), time.perf_counter()
        threads = [
            threading.Thread(
                target=send, args=(url, key, one[:1] if learn else one[1:], latencies_s)
            )
            for one in prepared
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elapsed_s, used_s = time.perf_counter() - started_s, cpu_s(pids) - before_s
    samples = len(latencies_s) * SAMPLES
    p50, p99 = np.percentile(latencies_s, [50, 99]) * 1000
    print(
        f"{samples:,} samples: {used_s / samples * 1e6:.2f} CPU s a million,"
        f" {samples / elapsed_s / 1e6:.2f} M/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )


if __name__ == "__main__":
    main()
