"""What decoding one remote_write request costs: microseconds of CPU for 1,000 samples.

    python benchmarks/bench_remote_write.py

One TimeSeries a sample with 11 labels, as TSBS's cpu metrics have; best of 7 rounds.
"""

import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import cramjam
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_ingest.labels import LabelRules, canonical
from data_ingest.protocols import remote_write, remote_write_2
from data_ingest.protocols.protocol import Bounds
from data_ingest.protocols.snappy import decompress
from data_ingest.store.packing import Write, pack_rows
from data_ingest.store.series import KnownSeries

BOUNDS = Bounds(64 << 20, 1_000_000)
TENANT = UUID(int=1)
CONSTANT = {
    "__name__": "cpu_usage_user",
    "arch": "x64",
    "datacenter": "us-east-1b",
    "os": "Ubuntu16.10",
    "rack": "42",
    "region": "us-east-1",
    "service": "12",
    "service_environment": "production",
    "service_version": "1",
    "team": "SF",
}


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def request(values: list[float], times_ms: list[int], first_host: int = 0) -> bytes:
    """A WriteRequest of one sample a series, hosts numbered from `first_host`."""
    out = bytearray()
    for host, (value, time_ms) in enumerate(zip(values, times_ms, strict=True), first_host):
        labels = sorted({**CONSTANT, "hostname": f"host_{host}"}.items())
        series = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in labels)
        sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms)
        out += field(1, series + field(2, sample))
    return bytes(out)


def request_2(values: list[float], times_ms: list[int]) -> bytes:
    """The same as a request of remote_write 2.0."""
    symbols: dict[str, int] = {"": 0}
    series = bytearray()
    for host, (value, time_ms) in enumerate(zip(values, times_ms, strict=True)):
        labels = sorted({**CONSTANT, "hostname": f"host_{host}"}.items())
        texts = [text for label in labels for text in label]
        references = b"".join(varint(symbols.setdefault(text, len(symbols))) for text in texts)
        sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms)
        series += field(5, field(1, references) + field(2, sample))
    return b"".join(field(4, text.encode()) for text in symbols) + bytes(series)


def cost(run: Callable[[], object], samples: int, repeats: int = 30) -> float:
    """Microseconds of CPU for 1,000 samples, best of 7."""
    best = float("inf")
    for _ in range(7):
        started_s = time.process_time()
        for _ in range(repeats):
            run()
        best = min(best, time.process_time() - started_s)
    return best / repeats / samples * 1e9


def main() -> None:
    """Print one line a step and size."""
    print(f"{'step':34}{'samples':>9}{'us/1k':>9}{'M/s/core':>10}")
    for samples in (500, 2_000, 10_000):
        values = np.random.default_rng(1).uniform(0, 100, samples).round(2).tolist()
        times_ms = list(range(1_700_000_000_000, 1_700_000_000_000 + samples))
        body = bytes(cramjam.snappy.compress_raw(request(values, times_ms)))
        body_2 = bytes(cramjam.snappy.compress_raw(request_2(values, times_ms)))
        batch = remote_write.decode(body, BOUNDS)
        ids = np.arange(1, samples + 1)
        series = KnownSeries()
        series.learn(batch.keys, ids, 1, 1 << 20)
        write = Write(TENANT, ids, batch.timestamps_ms, batch.values)
        steps: dict[str, Callable[[], object]] = {
            "snappy": partial(decompress, body, 64 << 20),
            "decode (snappy, walk, hash)": partial(remote_write.decode, body, BOUNDS),
            "decode 2.0": partial(remote_write_2.decode, body_2, BOUNDS),
            "look up series, all known": partial(series.find, batch.keys, 1),
            "pack (delta, shuffle, zstd 1)": partial(pack_rows, [write]),
        }
        for name, run in steps.items():
            us = cost(run, samples)
            print(f"{name:34}{samples:>9}{us:>9.1f}{1000 / us:>10.2f}")
    rules = LabelRules(128, 1024, 8192)
    us = cost(lambda: [canonical(batch.labels_at(i), rules) for i in range(1_000)], 1_000, 1)
    print(f"{'labels of new series':34}{1_000:>9}{us:>9.1f}{1000 / us:>10.2f}")
    print(f"payload: {len(pack_rows([write])[0][4]) / samples:.2f} B/sample, random values")


if __name__ == "__main__":
    main()
