"""What decoding costs when every series is known: microseconds of CPU for 1,000 samples.

    python benchmarks/bench_decode.py PROTOCOL

PROTOCOLS: name → shapes, each a request and how it is decoded; least and median of 15 runs.
"""

import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from data_ingest.model import SampleBatch
from data_ingest.protocols import graphite, prometheus_push, remote_write_2
from data_ingest.protocols.influx import Naming, protocols
from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.protocol import Bounds, WriteRequest
from data_ingest.protocols.statsd_totals import Totals
from data_ingest.protocols.text_lines import Received
from tests import wire

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


def otlp_request(metrics: int, points: int, attributes: int, buckets: int = 0) -> Any:
    """One resource, with counters, or histograms where there are buckets."""
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    for key in ("service.name", "service.instance.id", "host.name", "k8s.pod.name", "os.type"):
        resource_metrics.resource.attributes.add(key=key).value.string_value = f"value of {key}"
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "io.opentelemetry.runtime"
    for i in range(metrics):
        metric = scope_metrics.metrics.add(name=f"process.work.done.{i}", unit="By")
        metric.description = "Bytes that this process has worked through."
        data = metric.histogram if buckets else metric.sum
        data.aggregation_temporality = 2
        for j in range(points):
            point = data.data_points.add(start_time_unix_nano=AT_NS - 10**12, time_unix_nano=AT_NS)
            if buckets:
                point.count, point.sum = buckets, 1.5 * i
                point.explicit_bounds.extend(0.005 * 2**k for k in range(buckets - 1))
                point.bucket_counts.extend([1] * buckets)
            else:
                point.as_double = i + j / 7
            for k in range(attributes):
                point.attributes.add(key=f"attribute.{k}").value.string_value = f"value-{j}-{k}"
    return request


def otlp() -> Shapes:
    """OTLP: data points with few and many attributes, histograms, gzip, JSON."""
    decode = protocol(Options()).decode

    def shape(body: bytes, **headers: str) -> Callable[[], SampleBatch]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = WriteRequest("/v1/metrics", sent, body=body)
        return lambda: decode(request, BOUNDS)

    protobuf = "application/x-protobuf"
    wide, narrow = otlp_request(10, 200, 11), otlp_request(200, 10, 4)
    document = MessageToDict(narrow, use_integers_for_enums=True)
    return {
        "11 attributes, 200 points a metric": shape(
            wide.SerializeToString(), content_type=protobuf
        ),
        "the same, gzip": shape(
            gzip.compress(wide.SerializeToString()), content_type=protobuf, content_encoding="gzip"
        ),
        "4 attributes, 10 points a metric": shape(
            narrow.SerializeToString(), content_type=protobuf
        ),
        "4 attributes, 1 point a metric": shape(
            otlp_request(2_000, 1, 4).SerializeToString(), content_type=protobuf
        ),
        "histograms of 16 buckets": shape(
            otlp_request(10, 12, 4, buckets=16).SerializeToString(), content_type=protobuf
        ),
        "4 attributes, 10 points a metric, JSON": shape(
            json.dumps(document, separators=(",", ":")).encode(), content_type="application/json"
        ),
    }


def listeners() -> Shapes:
    """Graphite's lines; StatsD's, and what a flush of 4,000 counters costs."""
    hosts = [f"servers.web-{host}.cpu.user" for host in range(4_000)]
    plain = "".join(f"{path} {i / 7:.3f} 1795000000\n" for i, path in enumerate(hosts)).encode()
    tagged = "".join(
        f"{path};dc=eu;rack=r{i % 9} {i} -1\n" for i, path in enumerate(hosts)
    ).encode()
    counted = "".join(f"{path}:{i % 9}|c|#dc:eu,rack:1\n" for i, path in enumerate(hosts)).encode()
    totals = Totals("here", (0.1, 1.0), series_max=10_000, idle_ms=60_000, started_ms=0)
    flushed = Totals("here", (0.1, 1.0), series_max=10_000, idle_ms=60_000, started_ms=0)
    flushed.add([Received(counted, 0)])
    flushed.settle(1)

    def add() -> SampleBatch:
        totals.add([Received(counted, 0)])
        return done

    done = flushed.batch(1)
    return {
        "Graphite": lambda: graphite.decode([Received(plain, 0)]),
        "Graphite, 2 tags": lambda: graphite.decode([Received(tagged, 0)]),
        "StatsD counters, 2 tags": add,
        "StatsD, a flush": lambda: flushed.batch(1),
    }


def native_request(series: int, buckets: int, exemplars: int = 0) -> bytes:
    """remote_write 2.0: a histogram for each series, or a sample with so many exemplars."""
    names = [f"name{i}".encode() for i in range(10)]
    values = [f"value{i}".encode() for i in range(series)]
    request = wire.Request2(symbols=[b"", b"__name__", b"latency", b"trace_id", *names, *values])
    for i in range(series):
        refs = [1, 2, *(ref for n in range(10) for ref in (4 + n, 14 + i))]
        one = request.timeseries.add(labels_refs=refs)
        if buckets:
            one.histograms.add(
                count_int=3 * buckets,
                sum=1.5 * i,
                schema=3,
                zero_threshold=1e-9,
                timestamp=AT_NS // 10**6,
                positive_spans=[{"offset": -8, "length": buckets}],
                positive_deltas=[3] + [0] * (buckets - 1),
            )
        else:
            one.samples.add(value=1.5 * i, timestamp=AT_NS // 10**6)
        for _ in range(exemplars):
            one.exemplars.add(labels_refs=[3, 14 + i], value=0.25, timestamp=AT_NS // 10**6)
    return wire.compressed(request.SerializeToString())


def native() -> Shapes:
    """Native histograms and exemplars; a histogram, or a sample with its exemplars, is one."""

    def shape(*counts: int) -> Callable[[], SampleBatch]:
        body = native_request(*counts)
        return lambda: remote_write_2.decode(body, BOUNDS)

    request = otlp_request(1, 0, 0)
    metric = request.resource_metrics[0].scope_metrics[0].metrics.add(name="latency")
    metric.exponential_histogram.aggregation_temporality = 2
    for i in range(500):
        point = metric.exponential_histogram.data_points.add(time_unix_nano=AT_NS, scale=3)
        point.attributes.add(key="host").value.string_value = f"host-{i}"
        point.positive.bucket_counts.extend([3] * 20)
        point.count = 60
    body, decode = request.SerializeToString(), protocol(Options()).decode
    sent = WriteRequest("/v1/metrics", {"content-type": "application/x-protobuf"}, body=body)
    return {
        "remote_write 2.0, samples": shape(500, 0),
        "the same, an exemplar each": shape(500, 0, 1),
        "histograms of 20 buckets": shape(500, 20),
        "histograms of 160 buckets": shape(500, 160),
        "OTLP, exponential, 20 buckets": lambda: decode(sent, BOUNDS),
    }


def prometheus_text() -> Shapes:
    """Text 0.0.4 and OpenMetrics as pages and pushes have them; labels are read of new series."""

    def page(samples: int, labels: int, ending: str) -> bytes:
        pairs = [f'label_{i}="value of label {i}"' for i in range(1, labels)]
        rows = [
            "{" + ",".join([f'host="host-{i}"', *pairs]) + f"}} {i / 7:.3f}{ending}"
            for i in range(samples)
        ]
        described = "# HELP work_total Work done.\n# TYPE work_total counter\n"
        return (described + "".join(f"work_total{row}\n" for row in rows)).encode()

    def shape(body: bytes, media: str = "text/plain") -> Callable[[], SampleBatch]:
        path, received_ms = prometheus_push.IMPORT.paths[0], AT_NS // 10**6
        request = WriteRequest(path, {"content-type": media}, body=body, received_ms=received_ms)
        return lambda: prometheus_push.decode_import(request, BOUNDS)

    openmetrics = page(2_000, 4, " 1795000000.123") + b"# EOF\n"
    exemplar = page(2_000, 4, ' 1795000000.123 # {trace_id="0af7651916cd43dd"} 0.5') + b"# EOF\n"
    return {
        "text, 4 labels": shape(page(2_000, 4, "")),
        "text, 11 labels": shape(page(2_000, 11, "")),
        "text, 4 labels, times": shape(page(2_000, 4, " 1795000000123")),
        "OpenMetrics, 4 labels, times": shape(openmetrics, "application/openmetrics-text"),
        "the same, an exemplar each": shape(exemplar, "application/openmetrics-text"),
    }


PROTOCOLS: Final[dict[str, Callable[[], Shapes]]] = {
    "influx": influx,
    "listeners": listeners,
    "otlp": otlp,
    "native": native,
    "prometheus_text": prometheus_text,
}


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
