"""Damaged bodies, and what becomes of each: decoded, refused in our words, or a fault of ours.

    python benchmarks/fuzz_decoders.py all | DECODER… [--inputs N] [--seconds S] [--seed S]

Each input is one of the decoder's bodies with up to CHANGES_MAX bytes or pieces changed, cut,
doubled or put in. Labels are read of every row too. Anything but a `ServiceError` ends the run with
the input that led to it. Kernels check every index, which they do not in the service: an input that
makes one read or write outside its arrays is a fault too. A decoder is a row of TARGETS.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Compiled code with checks must not be what the service finds in its cache.
os.environ["NUMBA_BOUNDSCHECK"] = "1"
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / "cloudopshub-fuzz-kernels")

import numpy as np
import pyarrow as pa
from google.protobuf.json_format import MessageToJson

from benchmarks.bench_decode import otlp_request
from data_ingest.chassis.kinds import ServiceError
from data_ingest.errors import BadBody, InvalidLabels
from data_ingest.imports.options import Options as ImportOptions
from data_ingest.imports.pieces import Piece, Upload
from data_ingest.imports.tables import csv_pieces, decode_table
from data_ingest.imports.text import decode_ndjson, decode_openmetrics
from data_ingest.model import SampleBatch
from data_ingest.protocols import (
    firehose,
    graphite,
    influx,
    otlp,
    prometheus_push,
    remote_write,
    remote_write_2,
)
from data_ingest.protocols.protobuf import write_varint
from data_ingest.protocols.protocol import Bounds, WriteProtocol, WriteRequest
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.protocols.text_lines import Received
from tests import native_histograms, wire
from tests.unit import test_firehose as json_lines
from tests.unit import test_firehose_otel as cloudwatch

Decode = Callable[[bytes], SampleBatch]

BOUNDS: Final = Bounds(1 << 20, 10_000)
CHANGES_MAX: Final = 6
PIECE_MAX: Final = 8
AT_ONCE: Final = 1 << 16
"""Random numbers that are drawn together: one by one they take longer than most decoders."""
SPECIAL: Final = (
    *(b"\0", b"\n", b"\r\n", b'"', b"\\", b"=", b",", b" ", b"{", b"}", b"|", b":", b"#", b"[]"),
    *(b"nan", b"-inf", b"1e999", b"-0", b"9223372036854775808", b"0x1p3", b"1_0", b"null", b"{}"),
    *(b"\xff", b"\x7f", b"\x80", b"\xff" * 9 + b"\x01", b"\x80" * 10, b"\xed\xa0\x80", b"\xc3"),
    *(b"\x09", b"\x0a\x00", b"\x12\x00", b"\x10\xff\x01", b"\xff\xff\xff\xff\x0f"),
)
"""What decoders stumble over; a change puts in one of these or other bytes of the body."""


def sent(protocol: WriteProtocol, headers: Mapping[str, str] | None = None, **more: Any) -> Decode:
    """The decoder of a body that is sent so."""
    path, headers = protocol.paths[0], headers or {}
    return lambda body: protocol.decode(WriteRequest(path, headers, body=body, **more), BOUNDS)


def in_snappy(message: bytes) -> bytes:
    """A snappy block of one literal, which damage to the message leaves whole."""
    size = len(message)
    return write_varint(size) + b"\xf4" + (size - 1 & 0xFFFF).to_bytes(2, "little") + message


def remote_write_bodies() -> tuple[list[bytes], list[bytes]]:
    """Messages of each version: samples with metadata; histograms and exemplars too."""
    first = wire.WriteRequest()
    series = first.timeseries.add()
    for name, value in ((b"__name__", b"up"), (b"job", b"x")):
        series.labels.add(name=name, value=value)
    series.samples.add(value=1, timestamp=1)
    first.metadata.add(type=1, metric_family_name=b"up", help=b"h", unit=b"s")
    second = wire.Request2(symbols=[b"", b"__name__", b"up", b"job", b"x", b"h"])
    series = second.timeseries.add(labels_refs=[1, 2, 3, 4])
    series.samples.add(value=1, timestamp=1, start_timestamp=1)
    series.metadata.type, series.metadata.help_ref = 2, 5
    plain = first.SerializeToString(), second.SerializeToString()
    first.timeseries[0].histograms.add(**native_histograms.EXAMPLE)
    first.timeseries[0].exemplars.add(value=1, timestamp=1).labels.add(name=b"id", value=b"a")
    series.exemplars.add(labels_refs=[3, 4], value=1, timestamp=1)
    second.timeseries.add(labels_refs=[1, 4]).histograms.add(**native_histograms.CUSTOM)
    return [plain[0], first.SerializeToString()], [plain[1], second.SerializeToString()]


def otlp_messages() -> list[Any]:
    """All kinds of metrics, small."""
    messages = [otlp_request(1, 2, 1), otlp_request(1, 1, 1, buckets=3), otlp_request(0, 0, 0)]
    messages[0].resource_metrics[0].scope_metrics[0].metrics[0].sum.aggregation_temporality = 1
    metrics = messages[2].resource_metrics[0].scope_metrics[0].metrics
    summary = metrics.add(name="s").summary.data_points.add(time_unix_nano=1, count=1)
    summary.quantile_values.add(quantile=0.5, value=1)
    gauge = metrics.add(name="g", unit="1").gauge.data_points.add(time_unix_nano=1, as_int=1)
    gauge.exemplars.add(time_unix_nano=1, as_int=2, trace_id=b"abcdefghabcdefgh")
    for value in (True, 7, 0.5, b"x"):
        kind = {bool: "bool", int: "int", float: "double", bytes: "bytes"}[type(value)]
        setattr(gauge.attributes.add(key=kind).value, f"{kind}_value", value)
    nested = gauge.attributes.add(key="list").value.array_value.values.add()
    nested.kvlist_value.values.add(key="k").value.string_value = "v"
    exponential = metrics.add(name="e").exponential_histogram
    exponential.aggregation_temporality = 1
    for scale in (3, 2):
        point = exponential.data_points.add(time_unix_nano=scale, count=4, scale=scale, sum=1)
        point.positive.offset, point.zero_count = -1, 1
        point.positive.bucket_counts.extend([1, 2])
    return messages


OTLP: Final = [otlp.protocol(otlp.Options(delta_series_max=size)) for size in (0, 100)]


def otlp_decode(media: str) -> Decode:
    """Every second body with deltas added up."""
    either = [sent(protocol, {"content-type": media}) for protocol in OTLP]
    return lambda body: either[len(body) % 2](body)


def statsd_decode(text: bytes) -> SampleBatch:
    """What a process that saw this text alone writes."""
    totals = Totals("x", (0.1, 1.0), series_max=1_000, idle_ms=60_000, started_ms=0)
    totals.add([Received(text, 1)])
    return totals.batch(1)


def csv_decode(body: bytes) -> SampleBatch:
    """The first piece of a CSV; what Arrow refuses is what the worker answers as bad data."""
    options = TABLES[len(body) % 2]
    try:
        piece = next(csv_pieces(Upload(pa.BufferReader(body)), options))
    except (pa.ArrowException, OSError, KeyError, ValueError, StopIteration) as exc:
        raise BadBody(detail=str(exc)) from exc
    return decode_table(piece, options).batch


def parquet_decode(body: bytes) -> SampleBatch:
    """Columns as a Parquet file may have them: each of a type, and of cells, that the bytes say.

    The file itself is read by a process of its own, which Arrow may end.
    """
    types, _, cells = body.partition(b"\n")
    kinds = [PARQUET_TYPES[one % len(PARQUET_TYPES)] for one in types.ljust(3, b"\0")[:3]]
    rows = len(cells) // 24
    columns = [
        column_of(kind, cells[start:], rows)
        for kind, start in zip(kinds, (0, 8 * rows, 16 * rows), strict=True)
    ]
    options = TABLES[len(body) % 2]
    batch = pa.RecordBatch.from_arrays(columns, names=["t", "v", "l"])
    return decode_table(Piece(1, rows, 1, batch), options).batch


def column_of(kind: pa.DataType, cells: bytes, rows: int) -> pa.Array:
    """So many cells of eight bytes, read as this type; every fifth is null."""
    mask = np.packbits(np.arange(rows) % 5 != 4, bitorder="little").tobytes()
    if pa.types.is_dictionary(kind):
        return column_of(kind.value_type, cells, rows).dictionary_encode()
    buffers = [pa.py_buffer(mask), pa.py_buffer(cells)]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        offsets = np.arange(0, 8 * rows + 1, 8, dtype=np.int32)
        buffers.insert(1, pa.py_buffer(offsets.tobytes()))
    return pa.Array.from_buffers(kind, rows, buffers)


RW_1, RW_2 = remote_write_bodies()
MEDIA_2: Final = {"content-type": remote_write.MEDIA_2}
PUSHED: Final = {"parameters": {"group": "job/a/zone@base64/ZXU="}}
OPENMETRICS: Final = {"content-type": "application/openmetrics-text"}
INFLUX: Final = (
    b"cpu,host=a,region=b usage=1.5,n=2i,u=3u,ok=t 1700000000000000000\n# c\n\n",
    b'a\\ b\\,c,d\\==e f\\ g=-1e5,s="x,\\"\\\\\n=" 17 \r\nm v=97.48427672955975\n',
    b"m v=9223372036854775807i,w=18446744073709551615u,x=1.7976931348623157e308,y=.5\n",
)
TEXT: Final = (
    b'# HELP a x\\n\n# TYPE a histogram\na_bucket{le="1",x="\\"\\\\"} 5\na_sum 1.5e3 17\n',
    b'{"a.b",c="d"} NaN 1700000000000\n# TYPE q summary\nq{quantile="0.5"} +Inf\nx 17014118346\n',
)
PAGE: Final = (
    b'# TYPE a counter\n# UNIT a s\na_total{b="c"} 1 1.5 # {trace_id="x"} 0.5 1e3\n# EOF\n',
    b"a 0x1 -1\nb 1 2\n# EOF\nc 1 3.25\n",
)
NDJSON: Final = (
    b'{"metric":{"__name__":"up","a":"\\u00fc"},"values":[1,null,"NaN"],"timestamps":[1,2,3]}\n',
    b'{"timestamps":[17],"metric":{},"values":["-Infinity"]}\n',
)
IMPORT: Final = ImportOptions("", False, [(b"from", b"x")], "", "", {}, {}, "")
TABLES: Final = (
    ImportOptions("csv", False, [], "t", "ms", {"v": ""}, {}, "l"),
    ImportOptions("csv", False, [(b"a", b"x")], "t", "rfc3339", {"v": "m"}, {"l": "l"}, ""),
)
CSV: Final = (
    b't,v,l\n1700000000000,1.5,"{""__name__"":""up"",""a"":""\xc3\xbc""}"\n17,NaN,{}\n',
    b"l,v,t\r\nx,-1e3,2026-01-01T00:00:00Z\r\ny,,2026-01-01 00:00:00.5+02:00\r\n",
    b"t,v,l,more\n1,2,3,4\n5,6\n 7 ,inf,,\n1e300,0x1,\n",
)
PARQUET_TYPES: Final = (
    *(pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.timestamp("ns"), pa.date64()),
    *(pa.timestamp("s", "Europe/Berlin"), pa.time64("ns"), pa.duration("us"), pa.uint64()),
    *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int32(), pa.int64()), pa.int8()),
)
PARQUET: Final = (
    *(b"\x00\x01\x0a\n" + bytes(range(96)), b"\x04\x02\x02\n1.5     {}      " * 5),
    *(b"\x02\x03\x03\n20260101NaN     " * 6, b"\x06\x00\x0b\n" + b"\xff\x7f\0\0" * 36),
)
TARGETS: Final[Mapping[str, tuple[Sequence[bytes], Decode]]] = {
    "remote_write_1": (RW_1, lambda body: remote_write.decode(in_snappy(body), BOUNDS)),
    "remote_write_2": (RW_2, lambda body: remote_write_2.decode(in_snappy(body), BOUNDS)),
    "snappy": (
        [wire.compressed(one * times) for one in RW_1 for times in (1, 3)],
        sent(remote_write.PROTOCOL),
    ),
    "otlp_protobuf": (
        [one.SerializeToString() for one in otlp_messages()],
        otlp_decode("application/x-protobuf"),
    ),
    "otlp_json": (
        [
            MessageToJson(one, use_integers_for_enums=True, indent=None).encode()
            for one in otlp_messages()
        ],
        otlp_decode("application/json"),
    ),
    "influx": (INFLUX, sent(influx.protocols(influx.Naming())[0])),
    "prometheus_text": (TEXT, sent(prometheus_push.IMPORT)),
    "openmetrics": (PAGE, sent(prometheus_push.IMPORT, OPENMETRICS)),
    "pushgateway": (TEXT, sent(prometheus_push.PUSH, **PUSHED)),
    "firehose": (
        [bytes(json_lines.request(json_lines.lines(json_lines.METRIC)).body)],
        sent(firehose.PROTOCOL),
    ),
    "firehose_json": (
        (json_lines.lines(json_lines.METRIC),),
        lambda record: firehose.decode(json_lines.request(record), BOUNDS),
    ),
    "firehose_otel": (
        [cloudwatch.record(one) for one in (cloudwatch.message({}), cloudwatch.old_message())],
        lambda record: firehose.decode(json_lines.request(record), BOUNDS),
    ),
    "graphite": (
        (b"a.b-c;dc=eu;x=y 1.5 1700000000\r\n", b"d 2e3 -1\n\ne -3\n", b"a 1 1700000000.5\n"),
        lambda text: graphite.decode([Received(text, 1)]),
    ),
    "statsd": (
        (
            *(b"hits:1|c|@0.5|#a:b,c\n", b"load:7|g\nload:-2|g\n", b"t:100:20.5|ms\n"),
            *(b"s:a:b|s|c:box\n", b"h:1|h\nd:3|d\n", b"_e{1,1}:a|b\n"),
        ),
        statsd_decode,
    ),
    "import_ndjson": (NDJSON, lambda body: decode_ndjson(Piece(1, 1, 1, body), IMPORT).batch),
    "import_csv": (CSV, csv_decode),
    "import_parquet": (PARQUET, parquet_decode),
    "import_openmetrics": (
        PAGE,
        lambda body: decode_openmetrics(Piece(1, 1, 1, body), IMPORT).batch,
    ),
}


def damaged(bodies: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Bodies with changes, without end; the same of a seed.

    Every change takes one random number: its lowest bits say what is done, the others where.
    """
    rng = np.random.default_rng(seed)
    fragments = [
        *SPECIAL,
        *(body[at : at + PIECE_MAX] for body in bodies for at in range(len(body))),
    ]
    while True:
        numbers = iter(rng.integers(0, 1 << 62, AT_ONCE).tolist())
        for number in numbers:
            body = bodies[number % len(bodies)]
            for _, change in zip(range((number >> 8) % (CHANGES_MAX + 1)), numbers, strict=False):
                size, place, other = (change >> 3) % PIECE_MAX + 1, change >> 6, change >> 32
                at = place % (len(body) + 1)
                what = change & 7
                if what < 4:  # a byte becomes another one: nothing moves, so nesting stays
                    body = body[:at] + (other & 0xFF).to_bytes(1) + body[at + 1 :]
                elif what == 4:
                    body = body[:at] + body[at + size :]
                elif what == 5:
                    body = body[:at] + fragments[other % len(fragments)] + body[at:]
                elif what == 6:
                    body = body[:at] + body[at : at + size] * 3 + body[at + size :]
                else:
                    piece = fragments[other % len(fragments)]
                    body = body[:at] + piece + body[at + len(piece) :]
            yield body


def outcome(decode: Decode, body: bytes) -> str:
    """What became of the body, in a word or the name of its error."""
    try:
        batch = decode(body)
        has_refused = bool(batch.refused)
        for row in range(len(batch.keys)):
            try:
                batch.labels_at(row)
            except InvalidLabels:
                has_refused = True
    except ServiceError as error:
        return type(error).__name__
    return "decoded in part" if has_refused else "decoded"


def run(name: str, inputs: int, seconds: float, seed: int) -> None:
    """Print how often each outcome was; at most so many inputs, and about so long."""
    bodies, decode = TARGETS[name]
    counts, started_s, n = Counter[str](), time.perf_counter(), 0
    for body in damaged(bodies, seed):
        try:
            counts[outcome(decode, body)] += 1
        except BaseException:
            print(f"{name}, input {n} of seed {seed}, led to a fault: {body!r}")
            raise
        n += 1
        if n == inputs or (n % 1000 == 0 and time.perf_counter() - started_s > seconds):
            break
    took_s = time.perf_counter() - started_s
    print(f"{name}: {n:,} inputs of seed {seed} in {took_s:.0f} s, {n / took_s:,.0f}/s, no fault")
    print(
        f"    {', '.join(f'{word} {count:,}' for word, count in counts.most_common())}", flush=True
    )


def main() -> None:
    """Run the decoders one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("decoders", nargs="+", choices=[*TARGETS, "all"], metavar="DECODER")
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each decoder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    names = TARGETS if "all" in options.decoders else options.decoders
    for name in names:
        run(name, options.inputs, options.seconds, options.seed)


if __name__ == "__main__":
    main()
