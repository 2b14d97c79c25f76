"""What decoding costs for known series: microseconds of CPU for 1,000 samples.

    python benchmarks/bench_decode.py PROTOCOL

Bodies of 2,000 and 10,000 samples; least and median of 15 rounds. A protocol is a row of CASES.
"""

import gzip
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_ingest.model import SampleBatch
from data_ingest.protocols import influx
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest

BOUNDS: Final = Bounds(64 << 20, 1_000_000)
ROUNDS, SAMPLES_A_ROUND = 15, 200_000
TAGS: Final = (
    "arch=x64,datacenter=us-east-1b,hostname=host_{},os=Ubuntu16.10,rack=42,region=us-east-1,"
    "service=12,service_environment=production,service_version=1,team=SF"
)


def influx_lines(samples: int, fields: int, decimals: int | None, head: str = TAGS) -> bytes:
    """Lines of so many fields; decimals: None = all digits, as Telegraf writes percentages."""
    rng = np.random.default_rng(1)
    lines = []
    for host in range(samples // fields):
        values = rng.uniform(0, 100, fields)
        values = values if decimals is None else values.round(decimals)
        numbers = [np.format_float_positional(value, trim="-") for value in values]
        pairs = ",".join(f"usage_{field:05}={number}" for field, number in enumerate(numbers))
        at_ns = 1_700_000_000_000_000_000 + host
        lines.append(f"cpu,{head.format(host)} {pairs} {at_ns}\n")
    return "".join(lines).encode()


def decoding(protocol: WriteProtocol, body: bytes, **headers: str) -> Callable[[], SampleBatch]:
    """The call that is timed."""
    request = WriteRequest(protocol.paths[0], headers, {"db": "bench"}, body=body)
    return partial(protocol.decode, request, BOUNDS)


INFLUX: Final = influx.protocols(influx.Naming())[0]

CASES: Final[Mapping[str, Mapping[str, Callable[[int], Callable[[], SampleBatch]]]]] = {
    "influx": {
        "10 fields a line, 10 tags, 2 decimals": lambda n: decoding(INFLUX, influx_lines(n, 10, 2)),
        "10 fields a line, 10 tags, all digits": lambda n: decoding(
            INFLUX, influx_lines(n, 10, None)
        ),
        "1 field a line, 10 tags": lambda n: decoding(INFLUX, influx_lines(n, 1, 2)),
        "10 fields a line, 1 tag, all digits": lambda n: decoding(
            INFLUX, influx_lines(n, 10, None, "host=host_{}")
        ),
        "10 fields a line, 10 tags, 2 decimals, gzip": lambda n: decoding(
            INFLUX, gzip.compress(influx_lines(n, 10, 2)), **{"content-encoding": "gzip"}
        ),
    }
}


def costs(run: Callable[[], SampleBatch]) -> list[float]:
    """Microseconds for 1,000 samples, of each round."""
    samples = run().samples
    repeats = max(1, SAMPLES_A_ROUND // samples)
    rounds = []
    for _ in range(ROUNDS):
        started_s = time.process_time()
        for _ in range(repeats):
            run()
        rounds.append((time.process_time() - started_s) / repeats / samples * 1e9)
    return rounds


def main() -> None:
    """Print one line a case and size."""
    print(f"{'case':46}{'samples':>9}{'least us/1k':>13}{'median':>9}")
    for case, made in CASES[sys.argv[1]].items():
        for samples in (2_000, 10_000):
            rounds = costs(made(samples))
            print(f"{case:46}{samples:>9}{min(rounds):>13.1f}{statistics.median(rounds):>9.1f}")


if __name__ == "__main__":
    main()
