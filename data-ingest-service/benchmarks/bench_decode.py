"""What decoding costs when every series is known: microseconds of CPU for 1,000 samples.

    python benchmarks/bench_decode.py PROTOCOL

PROTOCOLS: name → shapes, each a request and how it is decoded; least and median of 15 runs.
"""

import gzip
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_ingest.model import SampleBatch
from data_ingest.protocols.influx import Naming, protocols
from data_ingest.protocols.protocol import Bounds, WriteRequest

BOUNDS: Final = Bounds(64 << 20, 1_000_000)
AT_NS: Final = 1_795_000_000_000_000_000
RUNS: Final = 15
TAGS: Final = (
    "arch=x64,datacenter=us-east-1b,hostname=host_{},os=Ubuntu16.10,rack=42,region=us-east-1,"
    "service=12,service_environment=production,service_version=1,team=SF"
)
Shapes = dict[str, Callable[[], SampleBatch]]


def influx_lines(samples: int, fields: int, decimals: int | None, tags: str = TAGS) -> bytes:
    """Lines of so many fields; decimals: None = all digits, as Telegraf writes percentages."""
    rng = np.random.default_rng(1)
    lines = []
    for host in range(samples // fields):
        values = rng.uniform(0, 100, fields)
        values = values if decimals is None else values.round(decimals)
        numbers = [np.format_float_positional(value, trim="-") for value in values]
        pairs = ",".join(f"usage_{field:05}={number}" for field, number in enumerate(numbers))
        lines.append(f"cpu,{tags.format(host)} {pairs} {AT_NS + host}\n")
    return "".join(lines).encode()


def influx() -> Shapes:
    """Influx line protocol: fields a line, tags, digits, gzip."""
    decode = protocols(Naming())[0].decode

    def shape(body: bytes, encoding: str = "") -> Callable[[], SampleBatch]:
        headers = {"content-encoding": encoding}
        request = WriteRequest("/write", headers, {"db": "telegraf"}, body=body)
        return lambda: decode(request, BOUNDS)

    packed = gzip.compress(influx_lines(10_000, 10, 2))
    return {
        "10 fields a line, 10 tags, 2 decimals": shape(influx_lines(2_000, 10, 2)),
        "the same, larger": shape(influx_lines(10_000, 10, 2)),
        "the same, larger, gzip": shape(packed, "gzip"),
        "10 fields, 10 tags, all digits": shape(influx_lines(10_000, 10, None)),
        "10 fields, 1 tag, all digits": shape(influx_lines(10_000, 10, None, "hostname=host_{}")),
        "1 field, 10 tags, 2 decimals": shape(influx_lines(2_000, 1, 2)),
        "1 field, 10 tags, 2 decimals, larger": shape(influx_lines(10_000, 1, 2)),
    }


PROTOCOLS: Final[dict[str, Callable[[], Shapes]]] = {"influx": influx}


def cost(run: Callable[[], SampleBatch]) -> tuple[int, list[float]]:
    """Samples, and microseconds of CPU for 1,000 of them in each run."""
    samples, costs = run().samples, []
    for _ in range(RUNS):
        started_s = time.process_time()
        for _ in range(20):
            run()
        costs.append((time.process_time() - started_s) / 20 / samples * 1e9)
    return samples, costs


def main() -> None:
    """Print one line a shape."""
    print(f"{'shape':42}{'samples':>9}{'us/1k min':>11}{'median':>9}")
    for name, run in PROTOCOLS[sys.argv[1]]().items():
        samples, costs = cost(run)
        print(f"{name:42}{samples:>9}{min(costs):>11.1f}{statistics.median(costs):>9.1f}")


if __name__ == "__main__":
    main()
