"""What series that nobody has seen before cost: how many a second become durable, CPU and memory.

    python benchmarks/bench_new_series.py http://127.0.0.1:8001 "$API_KEY" SERIES <pid of the
    service> <pid of postgres> [more pids]

Remote_write of 11 labels a series, 4 connections, 2,000 samples a request, 50,000 series a round
(a new process of this script makes others than the last). In the end all of them are sent once
more, as known ones. Requests are encoded before the clock starts. A process counts with its
children.
"""

import sys
import time
from pathlib import Path

import cramjam
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_remote_write import CONSTANT, request  # type: ignore[import-not-found]
from bench_write_path import cpu_s, run  # type: ignore[import-not-found]

CONNECTIONS, SAMPLES, ROUND = 4, 2_000, 50_000
FIRST_HOST = 1_000_000_000


def bodies(first: int, series: int, run_name: str) -> list[list[bytes]]:
    """For each connection its requests, one sample of each series from number `first` on."""
    CONSTANT["team"] = run_name
    message = request([1.5] * SAMPLES, [int(time.time() * 1000)] * SAMPLES, FIRST_HOST)
    rows = np.frombuffer(bytearray(message), np.uint8).reshape(SAMPLES, -1)
    at = bytes(rows[0]).index(str(FIRST_HOST).encode())
    encoded: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for i in range(0, series, SAMPLES):
        numbers = FIRST_HOST + first + i + np.arange(SAMPLES)
        rows[:, at : at + 10] = 48 + numbers[:, None] // 10 ** np.arange(9, -1, -1) % 10
        body = bytes(cramjam.snappy.compress_raw(rows.tobytes()))
        encoded[i // SAMPLES % CONNECTIONS].append(body)
    return encoded


def memory_mib(pids: list[int]) -> str:
    """RSS and PSS of each process with its children."""
    texts = []
    for pid in pids:
        process = psutil.Process(pid)
        rss = pss = 0
        for one in (process, *process.children(recursive=True)):
            full = one.memory_full_info()
            rss, pss = rss + full.rss, pss + full.pss
        texts.append(f"{rss >> 20} ({pss >> 20})")
    return ", ".join(texts)


def main() -> None:
    """Print a line a round."""
    url, key, series = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pids = [int(pid) for pid in sys.argv[4:]]
    run_name = f"{time.time_ns() % 10**9:09}"
    print("series so far, series/s, p99 ms, CPU us a series of each pid, RSS (PSS) MiB of each pid")
    for first, is_new in [*((i, True) for i in range(0, series, ROUND)), (0, False)]:
        prepared = bodies(first, ROUND if is_new else series, run_name)
        count = sum(map(len, prepared)) * SAMPLES
        before_s, started_s = np.array([cpu_s([pid]) for pid in pids]), time.perf_counter()
        latencies_s = run(url, key, prepared)
        elapsed_s = time.perf_counter() - started_s
        used_us = (np.array([cpu_s([pid]) for pid in pids]) - before_s) / count * 1e6
        print(
            f"{first + count if is_new else 'known':>9}{count / elapsed_s:>10,.0f}"
            f"{np.percentile(latencies_s, 99) * 1000:>8.0f}  "
            + ", ".join(f"{one:.1f}" for one in used_us)
            + "  "
            + memory_mib(pids),
            flush=True,
        )


if __name__ == "__main__":
    main()
