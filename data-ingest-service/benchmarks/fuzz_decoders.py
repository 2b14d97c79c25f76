"""Decoders under bytes that nobody meant: each input is decoded, or refused by one of our errors.

    python benchmarks/fuzz_decoders.py PROTOCOL [--inputs N] [--seed S]

Inputs are valid bodies with bytes changed, cut out, repeated or joined. An input that ends in any
other way is printed, and the exit code is 1.
"""

import argparse
import base64
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from google.protobuf.json_format import MessageToJson

from benchmarks.bench_decode import BOUNDS, otlp_request
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import InvalidLabels
from data_ingest.model import SampleBatch
from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.protocol import WriteRequest

Decoder = tuple[list[bytes], Callable[[bytes], SampleBatch]]
INTERESTING: Final = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xff" * 10,
    b"{",
    b"[",
    b'"',
    b"\x0a\x00",
)


def otlp() -> Decoder:
    """OTLP, protobuf or JSON by the first byte; every second request with deltas taken."""
    rows = [protocol(Options(delta_series_max=size)) for size in (0, 100)]
    messages = [otlp_request(2, 2, 2), otlp_request(2, 1, 1, buckets=3)]
    messages[0].resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality = 1
    summary = messages[1].resource_metrics[0].scope_metrics[0].metrics.add(name="s").summary
    summary.data_points.add(time_unix_nano=1, count=1).quantile_values.add(quantile=0.5, value=1)

    def decode(body: bytes) -> SampleBatch:
        media = "application/json" if body[:1] == b"{" else "application/x-protobuf"
        request = WriteRequest("/v1/metrics", {"content-type": media}, body=body)
        return rows[len(body) % 2].decode(request, BOUNDS)

    texts = [MessageToJson(one, use_integers_for_enums=True, indent=None) for one in messages]
    return [
        *(one.SerializeToString() for one in messages),
        *(one.encode() for one in texts),
    ], decode


PROTOCOLS: Final[dict[str, Callable[[], Decoder]]] = {"otlp": otlp}


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of the seeds after a few changes."""
    body = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(body) + 1)
        to = min(len(body), at + chance.randint(0, 12))
        change = chance.randrange(10)
        if change > 3 and at < len(body):
            body[at] ^= 1 << chance.randrange(8)
        elif change == 1:
            body[at:to] = chance.choice(INTERESTING)
        elif change == 2:
            del body[at:to]
        elif change == 3:
            body[at:at] = body[at:to]
        elif change == 0:
            other = chance.choice(seeds)
            body[at:] = other[chance.randrange(len(other)) :]
    return bytes(body)


def outcome(decode: Callable[[bytes], SampleBatch], body: bytes) -> str:
    """What became of it, labels of every series read as well."""
    try:
        batch = decode(body)
        for row in range(len(batch.keys)):
            with contextlib.suppress(InvalidLabels):
                batch.labels_at(row)
    except ServiceError as error:
        return type(error).__name__
    return "decoded"


def main() -> int:
    """Print how many inputs ended how, and how fast."""
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seeds, decode = PROTOCOLS[options.protocol]()
    chance, outcomes = random.Random(options.seed), Counter[str]()
    started_s = time.process_time()
    for _ in range(options.inputs):
        body = mutated(seeds, chance)
        try:
            outcomes[outcome(decode, body)] += 1
        except Exception as defect:  # noqa: BLE001 - that is what it looks for
            print(f"{type(defect).__name__}: {defect}\n{base64.b64encode(body).decode()}")
            outcomes["DEFECT"] += 1
    seconds = time.process_time() - started_s
    print(f"{options.inputs} inputs in {seconds:.1f} s of CPU: {dict(outcomes.most_common())}")
    return 1 if outcomes["DEFECT"] else 0


if __name__ == "__main__":
    sys.exit(main())
