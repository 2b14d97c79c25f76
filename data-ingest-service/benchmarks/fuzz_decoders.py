"""Damaged bodies, and what becomes of each: decoded, refused in our words, or a fault of ours.

    python benchmarks/fuzz_decoders.py PROTOCOL [--inputs N] [--seed S]

Each input is one of the protocol's bodies with some bytes changed, cut, doubled or put in. Labels
are read of every row too. Anything but a `ServiceError` ends the run with the input that led to it.
A protocol is a row of TARGETS.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from google.protobuf.json_format import MessageToJson

from benchmarks.bench_decode import otlp_request
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import InvalidLabels
from data_ingest.model import SampleBatch
from data_ingest.protocols import firehose, graphite, influx, otlp, remote_write
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.protocols.text_lines import Received
from tests import wire
from tests.unit import test_firehose as json_lines
from tests.unit import test_firehose_otel as cloudwatch

BOUNDS: Final = Bounds(1 << 20, 10_000)
CHANGES_MAX: Final = 6


def with_headers(protocol: WriteProtocol, **headers: str) -> Callable[[bytes], SampleBatch]:
    """The decoder of a body that is sent so."""
    return lambda body: protocol.decode(WriteRequest(protocol.paths[0], headers, body=body), BOUNDS)


def otlp_bodies() -> list[bytes]:
    """Protobuf and JSON of all kinds of metrics."""
    messages = [otlp_request(2, 2, 2), otlp_request(2, 1, 1, buckets=3)]
    messages[0].resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality = 1
    summary = messages[1].resource_metrics[0].scope_metrics[0].metrics.add(name="s").summary
    summary.data_points.add(time_unix_nano=1, count=1).quantile_values.add(quantile=0.5, value=1)
    texts = [MessageToJson(one, use_integers_for_enums=True, indent=None) for one in messages]
    return [one.SerializeToString() for one in messages] + [text.encode() for text in texts]


OTLP: Final = [otlp.protocol(otlp.Options(delta_series_max=size)) for size in (0, 100)]


def otlp_decode(body: bytes) -> SampleBatch:
    """JSON or protobuf by the first byte; every second body with deltas added up."""
    media = "application/json" if body[:1] == b"{" else "application/x-protobuf"
    request = WriteRequest("/v1/metrics", {"content-type": media}, body=body)
    return OTLP[len(body) % 2].decode(request, BOUNDS)


def firehose_decode(record: bytes) -> SampleBatch:
    """The record alone in a request."""
    return firehose.decode(json_lines.request(record), BOUNDS)


def statsd_decode(text: bytes) -> SampleBatch:
    """What a process that saw this text alone writes."""
    totals = Totals("x", (0.1, 1.0), series_max=1_000, idle_ms=60_000, started_ms=0)
    totals.add([Received(text, 1)])
    return totals.batch(1)


TARGETS: Final[Mapping[str, tuple[Sequence[bytes], Callable[[bytes], SampleBatch]]]] = {
    "firehose": (
        (
            cloudwatch.record(cloudwatch.message(), cloudwatch.message({})),
            cloudwatch.record(cloudwatch.old_message()),
            json_lines.lines(json_lines.METRIC, json_lines.METRIC),
        ),
        firehose_decode,
    ),
    "graphite": (
        (b"a.b-c;dc=eu;x=y 1.5 1700000000\r\nd 2e3 -1\n\ne -3\n", b"a 1 1700000000.5\n"),
        lambda text: graphite.decode([Received(text, 1)]),
    ),
    "statsd": (
        (
            b"hits:1|c|@0.5|#a:b,c\nload:7|g\nload:-2|g\nt:100:20.5|ms\ns:a:b|s|c:box\n",
            b"h:1|h\nd:3|d\n_e{1,1}:a|b\n",
        ),
        statsd_decode,
    ),
    "influx": (
        (
            b"cpu,host=a,region=b usage=1.5,n=2i,u=3u,ok=t 1700000000000000000\n# c\n\n",
            b'a\\ b\\,c,d\\==e f\\ g=-1e5,s="x,\\"\\\\\n=" 17 \r\nm v=97.48427672955975\n',
            b"m v=9223372036854775807i,w=18446744073709551615u,x=1.7976931348623157e308,y=.5\n",
        ),
        with_headers(influx.protocols(influx.Naming())[0]),
    ),
    "otlp": (otlp_bodies(), otlp_decode),
    "remote_write": (
        (
            wire.compressed(
                wire.series([(b"__name__", b"up"), (b"job", b"x")], [(1, 1.0), (2, 2.0)])
                + wire.field(3, wire.field(2, b"up"))
            ),
        ),
        with_headers(remote_write.PROTOCOL),
    ),
}


def damaged(body: bytes, rng: random.Random) -> bytes:
    """The body with some changes."""
    changed = bytearray(body * rng.randint(1, 3))
    for _ in range(rng.randint(0, CHANGES_MAX)):
        at, size = rng.randrange(len(changed) + 1), rng.randint(1, 8)
        match rng.randrange(4):
            case 0:
                del changed[at : at + size]
            case 1:
                changed[at:at] = rng.randbytes(size)
            case 2:
                changed[at:at] = changed[at : at + size] * rng.randint(1, 4)
            case _:
                changed[at : at + 1] = body[rng.randrange(len(body)) :][:1]
    return bytes(changed)


def outcome(decode: Callable[[bytes], SampleBatch], body: bytes) -> str:
    """What became of the body, in a word or the name of its error."""
    try:
        batch = decode(body)
    except ServiceError as error:
        return type(error).__name__
    refused_rows = 0
    for row in range(len(batch.keys)):
        try:
            batch.labels_at(row)
        except InvalidLabels:
            refused_rows += 1
    return "decoded in part" if batch.refused or refused_rows else "decoded"


def main() -> None:
    """Print how often each outcome was."""
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bodies, decode = TARGETS[options.protocol]
    rng, counts, started_s = random.Random(options.seed), Counter[str](), time.perf_counter()
    for _ in range(options.inputs):
        body = damaged(rng.choice(bodies), rng)
        try:
            counts[outcome(decode, body)] += 1
        except BaseException:
            print(f"led to a fault: {body!r}")
            raise
    print(f"{options.inputs} inputs in {time.perf_counter() - started_s:.0f} s, no fault")
    for word, count in counts.most_common():
        print(f"{count:>9}  {word}")


if __name__ == "__main__":
    main()
