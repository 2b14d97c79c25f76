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
    "text": 12, "base64": 12, "hex": 12, "enum": 13,
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
}
"""By message: name, type and number of each field; `*`: repeated, and packed where that can be."""
_TIMES: Final = "startTimeUnixNano fixed64 2, timeUnixNano fixed64 3"
OTLP_FIELDS: Final = {
    "Times": _TIMES,
    "Request": "resourceMetrics ResourceMetrics* 1",
    "ResourceMetrics": "resource Resource 1, scopeMetrics ScopeMetrics* 2",
    "Resource": "attributes KeyValue* 1",
    "KeyValue": "key text 1, value AnyValue 2",
    "AnyValue": """stringValue text 1, boolValue bool 2, intValue int64 3, doubleValue double 4,
        arrayValue ArrayValue 5, kvlistValue KeyValueList 6, bytesValue base64 7""",
    "ArrayValue": "values AnyValue* 1",
    "KeyValueList": "values KeyValue* 1",
    "ScopeMetrics": "scope Scope 1, metrics Metric* 2, schemaUrl text 3",
    "Scope": "name text 1, version text 2, attributes KeyValue* 3",
    "Metric": """name text 1, description text 2, unit text 3, gauge Numbers 5, sum Numbers 7,
        histogram Histogram 9, exponentialHistogram ExponentialHistogram 10, summary Summary 11""",
    "Numbers": "dataPoints Number* 1, aggregationTemporality enum 2, isMonotonic bool 3",
    "Number": f"""{_TIMES}, asDouble double 4, asInt sfixed64 6, exemplars Exemplar* 5,
        attributes KeyValue* 7, flags enum 8""",
    "Histogram": "dataPoints HistogramPoint* 1, aggregationTemporality enum 2",
    "HistogramPoint": f"""{_TIMES}, count fixed64 4, sum double 5, bucketCounts fixed64* 6,
        explicitBounds double* 7, exemplars Exemplar* 8, attributes KeyValue* 9, flags enum 10""",
    "ExponentialHistogram": "dataPoints ExponentialPoint* 1, aggregationTemporality enum 2",
    "ExponentialPoint": f"""{_TIMES}, attributes KeyValue* 1, count fixed64 4, sum double 5,
        scale sint32 6, zeroCount fixed64 7, positive Side 8, negative Side 9, flags enum 10,
        exemplars Exemplar* 11, zeroThreshold double 14""",
    "Side": "offset sint32 1, bucketCounts uint64* 2",
    "Summary": "dataPoints SummaryPoint* 1",
    "SummaryPoint": f"""{_TIMES}, count fixed64 4, sum double 5, quantileValues Quantile* 6,
        attributes KeyValue* 7, flags enum 8, oldLabels base64* 1""",
    "Quantile": "quantile double 1, value double 2",
    "Exemplar": """timeUnixNano fixed64 2, asDouble double 3, spanId hex 4, traceId hex 5,
        asInt sfixed64 6, filteredAttributes KeyValue* 7""",
}
"""OTLP's messages, fields in the words of its JSON: text, base64, hex and enum are how JSON says
bytes and integers. A summary's `oldLabels` are of OpenTelemetry 0.7, which had no JSON.
"""


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
            if is_repeated and _KINDS[kind] != _KINDS["bytes"]:
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
Metadata: Final = _CLASSES["Metadata"]
OTLP: Final = classes(OTLP_FIELDS)
