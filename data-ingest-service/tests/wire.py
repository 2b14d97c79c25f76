"""remote_write on the wire, slow and obvious: protobuf's own library, and an encoder by hand."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Labels = Sequence[tuple[bytes, bytes]]


Fields = tuple[int, str, str, bool]
_KINDS = {
    "double": 1, "int64": 3, "uint64": 4, "bytes": 12, "uint32": 13, "sint32": 17, "sint64": 18,
}  # fmt: skip


def message_class(package: str, messages: dict[str, list[Fields]], name: str) -> Any:
    """The class of one of the messages; text is bytes, valid UTF-8 or not.

    Fields `x_int` and `x_float` are one of `x`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for message, fields in messages.items():
        made = file.message_type.add(name=message)
        for number, field, kind, repeated in fields:
            one = made.field.add(name=field, number=number, label=3 if repeated else 1)
            if (name_of_one := field.removesuffix("_int").removesuffix("_float")) != field:
                if name_of_one not in {choice.name for choice in made.oneof_decl}:
                    made.oneof_decl.add(name=name_of_one)
                one.oneof_index = len(made.oneof_decl) - 1
            if kind in _KINDS:
                one.type = _KINDS[kind]
            else:
                one.type, one.type_name = 11, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


HISTOGRAM: dict[str, list[Fields]] = {
    "BucketSpan": [(1, "offset", "sint32", False), (2, "length", "uint32", False)],
    "Histogram": [
        (1, "count_int", "uint64", False),
        (2, "count_float", "double", False),
        (3, "sum", "double", False),
        (4, "schema", "sint32", False),
        (5, "zero_threshold", "double", False),
        (6, "zero_count_int", "uint64", False),
        (7, "zero_count_float", "double", False),
        (8, "negative_spans", "BucketSpan", True),
        (9, "negative_deltas", "sint64", True),
        (10, "negative_counts", "double", True),
        (11, "positive_spans", "BucketSpan", True),
        (12, "positive_deltas", "sint64", True),
        (13, "positive_counts", "double", True),
        (14, "reset_hint", "uint32", False),
        (15, "timestamp", "int64", False),
        (16, "custom_values", "double", True),
        (17, "start_timestamp", "int64", False),
    ],
}
"""Of both versions; only 2.0 has the last field."""

WriteRequest = message_class(
    "prometheus",
    {
        "Label": [(1, "name", "bytes", False), (2, "value", "bytes", False)],
        "Sample": [(1, "value", "double", False), (2, "timestamp", "int64", False)],
        "Exemplar": [
            (1, "labels", "Label", True),
            (2, "value", "double", False),
            (3, "timestamp", "int64", False),
        ],
        **HISTOGRAM,
        "TimeSeries": [
            (1, "labels", "Label", True),
            (2, "samples", "Sample", True),
            (3, "exemplars", "Exemplar", True),
            (4, "histograms", "Histogram", True),
        ],
        "MetricMetadata": [
            (1, "type", "uint32", False),
            (2, "metric_family_name", "bytes", False),
            (4, "help", "bytes", False),
            (5, "unit", "bytes", False),
        ],
        "WriteRequest": [
            (1, "timeseries", "TimeSeries", True),
            (3, "metadata", "MetricMetadata", True),
        ],
    },
    "WriteRequest",
)
"""Of remote_write 1.0."""

Request2 = message_class(
    "io.prometheus.write.v2",
    {
        "Sample": [
            (1, "value", "double", False),
            (2, "timestamp", "int64", False),
            (3, "start_timestamp", "int64", False),
        ],
        "Exemplar": [
            (1, "labels_refs", "uint32", True),
            (2, "value", "double", False),
            (3, "timestamp", "int64", False),
        ],
        **HISTOGRAM,
        "Metadata": [
            (1, "type", "uint32", False),
            (3, "help_ref", "uint32", False),
            (4, "unit_ref", "uint32", False),
        ],
        "TimeSeries": [
            (1, "labels_refs", "uint32", True),
            (2, "samples", "Sample", True),
            (3, "histograms", "Histogram", True),
            (4, "exemplars", "Exemplar", True),
            (5, "metadata", "Metadata", False),
        ],
        "Request": [(4, "symbols", "bytes", True), (5, "timeseries", "TimeSeries", True)],
    },
    "Request",
)
"""Of remote_write 2.0."""

Histogram = message_class("cloudopshub.tests", HISTOGRAM, "Histogram")


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer; negative numbers as 64-bit two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number << 3 | wire type, value) of each field: a number for a varint, else its bytes."""
    at = 0

    def number() -> int:
        nonlocal at
        value, shift = 0, 0
        while message[at] > 127:
            value, shift, at = value | (message[at] & 127) << shift, shift + 7, at + 1
        value, at = value | message[at] << shift, at + 1
        return value

    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            yield tag, number()
            continue
        size = number() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
        yield tag, message[at : at + size]
        at += size


def label(name: bytes, value: bytes) -> bytes:
    """Field 1 of a TimeSeries."""
    return field(1, field(1, name) + field(2, value))


def sample(timestamp_ms: int, bits: int) -> bytes:
    """Field 2 of a TimeSeries, as senders write it."""
    return field(2, b"\x09" + struct.pack("<Q", bits) + b"\x10" + varint(timestamp_ms))


def series(labels: Labels, samples: Sequence[tuple[int, float]]) -> bytes:
    """Field 1 of a WriteRequest."""
    head = b"".join(label(name, value) for name, value in labels)
    bits = [(ts, struct.unpack("<Q", struct.pack("<d", value))[0]) for ts, value in samples]
    return field(1, head + b"".join(sample(ts, one) for ts, one in bits))


def compressed(message: bytes) -> bytes:
    """The request body."""
    return bytes(cramjam.snappy.compress_raw(message))
