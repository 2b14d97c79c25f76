"""The protobuf messages that are read whole, with protobuf's own library: what is no plain sample.

Requests go through kernels, which say where in them these messages stand. All fields can be asked
whether they are there (proto2), text is bytes, and a class has only the fields that are used.
Source: Prometheus `io/prometheus/write/v2/types.proto` (1.0's histogram has the same numbers),
`prompb/types.proto`; opentelemetry-proto `metrics/v1/metrics.proto`,
`common/v1/common.proto`.
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS: Final = {
    "double": 1, "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "bool": 8, "bytes": 12,
    "uint32": 13, "sfixed64": 16, "sint32": 17, "sint64": 18,
}  # fmt: skip
_FIELDS: Final = {
    "Span": "offset sint32 1, length uint32 2",
    "Histogram": """count_int uint64 1, count_float double 2, sum double 3, schema sint32 4,
        zero_threshold double 5, zero_count_int uint64 6, zero_count_float double 7,
        negative_spans Span* 8, negative_deltas sint64* 9, negative_counts double* 10,
        positive_spans Span* 11, positive_deltas sint64* 12, positive_counts double* 13,
        reset_hint int32 14, timestamp int64 15, custom_values double* 16,
        start_timestamp int64 17""",
    "Metadata": "type uint64 1, name bytes 2, help bytes 4, unit bytes 5",
    "Label": "name bytes 1, value bytes 2",
    "Exemplar": "labels Label* 1, value double 2, timestamp int64 3",
    "Exemplar2": "labels_refs uint32* 1, value double 2, timestamp int64 3",
    "OtlpExemplar": """time_ns fixed64 2, as_double double 3, span_id bytes 4, trace_id bytes 5,
        as_int sfixed64 6, filtered KeyValue* 7""",
    "KeyValue": "key bytes 1, value AnyValue 2",
    "AnyValue": """string bytes 1, bool bool 2, int int64 3, double double 4, array Array 5,
        map Map 6, bytes bytes 7""",
    "Array": "values AnyValue* 1",
    "Map": "values KeyValue* 1",
    "OtlpResource": "attributes KeyValue* 1",
    "OtlpScope": "name bytes 1, version bytes 2, attributes KeyValue* 3",
    "OtlpTimes": "start_ns fixed64 2, end_ns fixed64 3",
    "OtlpNumber": "exemplars OtlpExemplar* 5, attributes KeyValue* 7",
    "OtlpHistogram": "bounds double* 7, exemplars OtlpExemplar* 8, attributes KeyValue* 9",
    "OtlpSummary": "quantiles OtlpQuantile* 6, attributes KeyValue* 7",
    "OtlpQuantile": "quantile double 1",
    "OtlpSide": "offset sint32 1, counts uint64* 2",
    "OtlpExponential": """attributes KeyValue* 1, start_ns fixed64 2, count fixed64 4,
        sum double 5, scale sint32 6, zero_count fixed64 7, positive OtlpSide 8,
        negative OtlpSide 9, exemplars OtlpExemplar* 11, zero_threshold double 14""",
}
"""By message: name, type and number of each field; `*`: repeated, and packed where that can be."""


def classes(fields: Mapping[str, str]) -> dict[str, Any]:
    """The class of each message in a table like `_FIELDS`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="cloudopshub.proto", package="cloudopshub", syntax="proto2"
    )
    for message, listed in fields.items():
        made = file.message_type.add(name=message)
        if message == "AnyValue":
            made.oneof_decl.add(name="value")
        for one in listed.split(","):
            name, kind, number = one.split()
            is_repeated, kind = kind.endswith("*"), kind.rstrip("*")
            field = made.field.add(name=name, number=int(number), label=3 if is_repeated else 1)
            if message == "AnyValue":
                field.oneof_index = 0
            if kind not in _KINDS:
                field.type, field.type_name = 11, f".cloudopshub.{kind}"
                continue
            field.type = _KINDS[kind]
            if is_repeated and kind != "bytes":
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"cloudopshub.{name}"))
        for name in fields
    }


_CLASSES: Final = classes(_FIELDS)
Histogram: Final = _CLASSES["Histogram"]
Exemplar: Final = _CLASSES["Exemplar"]
Exemplar2: Final = _CLASSES["Exemplar2"]
OtlpTimes: Final = _CLASSES["OtlpTimes"]
OtlpNumber: Final = _CLASSES["OtlpNumber"]
OtlpHistogram: Final = _CLASSES["OtlpHistogram"]
OtlpExponential: Final = _CLASSES["OtlpExponential"]
OtlpSummary: Final = _CLASSES["OtlpSummary"]
OtlpResource: Final = _CLASSES["OtlpResource"]
OtlpScope: Final = _CLASSES["OtlpScope"]
Metadata: Final = _CLASSES["Metadata"]
