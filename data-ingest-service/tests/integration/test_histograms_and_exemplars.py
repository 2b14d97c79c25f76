"""Laws of native histograms and exemplars from the request to the block, on a real store."""

import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import numpy as np
import pytest

from data_ingest import batch
from data_ingest.background import upkeep
from data_ingest.chassis.identity import Limits
from data_ingest.errors import RateLimited
from data_ingest.histograms import HISTOGRAM_BITS
from data_ingest.limits import DAY_MS
from data_ingest.scrape.access import Clients
from data_ingest.scrape.page import scrape_target
from data_ingest.scrape.series import TargetSeries
from data_ingest.store import block, tables
from data_ingest.store.packing import INLINE_EXEMPLARS_MAX
from tests import otlp, wire
from tests.integration.test_otlp_http import refused, service
from tests.metric_store import opened_store
from tests.native_histograms import histogram, meaning, stored_form
from tests.protobuf_pages import CONTENT_TYPE, HISTOGRAM, family
from tests.scrapes import READING, target
from tests.stored_values import STALE, STALE_BITS
from tests.write_path import now_ms, write_path

VERSION_2 = {
    "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "content-encoding": "snappy",
}
SYMBOLS = [b"", b"__name__", b"latency", b"requests", b"trace_id", b"abc"]
SCRAPED = {
    "count": 3,
    "sum": 1.5,
    "zero": 1,
    "zero_threshold": 0.001,
    "positive_span": [{"offset": 4, "length": 1}],
    "positive_delta": [2],
    "bucket": [{"count": 3, "bound": 1.0}],
}
WRITTEN = "x-prometheus-remote-write-{}-written"


def request_2(at: int, *, invalid: bool = False) -> bytes:
    """Two samples, a histogram and one that ends its series, three exemplars, one twice."""
    request = wire.Request2(symbols=SYMBOLS)
    exemplar = {"labels_refs": [4, 5], "value": 0.25, "timestamp": at}
    request.timeseries.add(
        labels_refs=[1, 3],
        samples=[{"value": 1, "timestamp": at}, {"value": 2, "timestamp": at + 1}],
        exemplars=[exemplar, exemplar, {"value": 3.0, "timestamp": at}],
    )
    series = request.timeseries.add(labels_refs=[1, 2])
    for one in (histogram(timestamp=at), histogram(timestamp=at + 1, sum=STALE)):
        series.histograms.add().ParseFromString(one.SerializeToString())
    if invalid:
        series.histograms.add(count_int=5, timestamp=at + 2)
        request.timeseries[0].exemplars.add(labels_refs=[4, 99])
    return wire.compressed(request.SerializeToString())


async def exemplars(url: str) -> list[tuple[str, int, float, dict[str, str]]]:
    conn = await asyncpg.connect(url)
    rows = await conn.fetch(
        "SELECT s.labels->>'__name__' AS name, timestamp_ms, value, e.labels"
        " FROM metrics.exemplar e JOIN metrics.series s USING (tenant_id, series_id) ORDER BY value"
    )
    await conn.close()
    return [
        (row["name"], row["timestamp_ms"], row["value"], json.loads(row["labels"])) for row in rows
    ]


def values_of(columns: Any) -> list[bytes | int]:
    messages = columns.histograms.to_pylist()
    bits = np.ascontiguousarray(columns.values).view(np.uint64).tolist()
    return [
        messages[one & 0xFFFF_FFFF] if one >> 32 == HISTOGRAM_BITS >> 32 else one for one in bits
    ]


async def test_remote_write_2_says_exactly_what_is_written(store_url, tmp_path):
    """Samples, histograms and exemplars are counted apart, also where something is refused; sent
    again they change nothing; what is invalid is refused by name and the rest is stored.
    """
    at = now_ms()
    async with service(store_url, tmp_path) as client:
        for invalid, status in ((False, 204), (True, 400), (False, 204)):
            answer = await client.post(
                "/api/v1/write", content=request_2(at, invalid=invalid), headers=VERSION_2
            )
            assert answer.status_code == status
            kinds = ("samples", "histograms", "exemplars")
            written = [answer.headers[WRITTEN.format(kind)] for kind in kinds]
            assert written == ["2", "2", "3"]
            if invalid:
                assert "the buckets add up to 0, the count is 5" in answer.text
    assert await refused(store_url) == {"invalid_histogram": 1}
    assert await exemplars(store_url) == [
        ("requests", at, 0.25, {"trace_id": "abc"}),
        ("requests", at, 3.0, {}),
    ]
    conn = await asyncpg.connect(store_url)
    row = await conn.fetchrow("SELECT * FROM metrics.batch ORDER BY batch_id LIMIT 1")
    await conn.close()
    columns = batch.unpack(row["payload"])
    assert values_of(columns)[2:] == [stored_form(histogram()), STALE_BITS]
    assert row["histogram_bytes"] == 4 + len(stored_form(histogram()))
    assert len(columns) == row["samples"] == 4


async def test_an_exponential_histogram_is_one_sample(store_url, tmp_path):
    """It keeps the metric's name and has its exemplars; an invalid one is a rejected point."""
    at = now_ms()
    request, scope_metrics = otlp.request(at * 1_000_000)
    metric = scope_metrics.metrics.add(name="latency", unit="s")
    metric.exponential_histogram.aggregation_temporality = 2
    for count in (3, 4):
        point = metric.exponential_histogram.data_points.add(
            time_unix_nano=at * 1_000_000, count=count, sum=1.5, scale=2, zero_count=1
        )
        point.positive.bucket_counts.extend([2])
        one = point.exemplars.add(as_double=1.5, time_unix_nano=at * 1_000_000)
        one.trace_id, one.span_id = bytes(range(16)), bytes(range(8))
    async with service(store_url, tmp_path) as client:
        answer = await client.post("/v1/metrics", content=request.SerializeToString())
    partial = otlp.Response.FromString(answer.content).partial_success
    assert partial.rejected_data_points == 1
    assert "metric 'latency': the buckets add up to 3, the count is 4" in partial.error_message
    conn = await asyncpg.connect(store_url)
    payload = await conn.fetchval("SELECT payload FROM metrics.batch")
    await conn.close()
    stored = values_of(batch.unpack(payload))[-1]
    assert isinstance(stored, bytes)
    assert meaning(stored)["positive"] == {1: 2}
    ids = {"trace_id": bytes(range(16)).hex(), "span_id": bytes(range(8)).hex()}
    assert await exemplars(store_url) == [("latency_seconds", at, 1.5, ids)]


async def test_a_native_histogram_that_is_scraped(store_url):
    """A target that is asked for protobuf answers with native buckets: one sample of the metric's
    name is stored, as remote_write would store it, and none of the classic series.
    """
    asked = []

    def page(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Accept"].split(";")[0])
        body = family("latency", HISTOGRAM, {"histogram": SCRAPED})
        return httpx.Response(200, content=body, headers={"Content-Type": CONTENT_TYPE})

    reading = READING.model_copy(update={"scrape_native_histograms": True})
    series, tenant = TargetSeries((("job", "j"),)), uuid4()
    async with write_path(store_url) as path:
        async with httpx.AsyncClient(transport=httpx.MockTransport(page)) as http:
            result = await scrape_target(Clients(http), target(reading=reading))
        assert result.samples is not None
        decoded = series.batch(series.match(result.samples, at := now_ms()), at, [])
        outcome = await path.pipeline.ingest(tenant, decoded, Limits(), "scrape")
        assert (outcome.accepted, outcome.histograms, outcome.refused) == (1, 1, {})
        payload = await path.conn.fetchval("SELECT payload FROM metrics.batch")
        labels = await path.conn.fetchval("SELECT labels FROM metrics.series")
    assert asked == ["application/vnd.google.protobuf"]
    columns = batch.unpack(payload)
    assert columns.timestamps_ms.tolist() == [at]
    expected: dict[str, Any] = {
        "count_int": 3,
        "sum": 1.5,
        "zero_count_int": 1,
        "zero_threshold": 0.001,
    }
    expected |= {"positive_spans": [{"offset": 4, "length": 1}], "positive_deltas": [2]}
    assert values_of(columns) == [stored_form(wire.Histogram(**expected))]
    assert json.loads(labels) == {"__name__": "latency", "job": "j"}


async def test_a_histogram_is_compacted_and_counted_as_a_sample(store_url, tmp_path):
    """From request to block it is one sample of its series: the last of a time wins, sent again it
    is not counted again.
    """
    at = now_ms()
    async with opened_store(store_url, tmp_path) as store, write_path(store_url) as path:
        for total, number in ((9, 0), (9, 0), (10, 1)):
            sent = histogram(timestamp=at, count_int=total, zero_count_int=2 + number)
            label, value = wire.label(b"__name__", b"latency"), sent.SerializeToString()
            message = wire.field(1, label + wire.field(4, value) + wire.sample(at + 1, 7))
            outcome = await path.send(store.tenant, wire.compressed(message))
            assert (outcome.accepted, outcome.histograms) == (2, 1)
            await store.compact()
        while await store.merge(at + DAY_MS):
            pass
        assert await store.used() == 2
        values: list[bytes | int] = []
        for row in await store.blocks():
            with store.objects.reading(row["object_key"]) as source:
                for piece in block.read(source, row["tail_sha256"]):
                    values += values_of(piece)
        assert len(await store.blocks()) == 1
    assert values == [stored_form(histogram(count_int=10, zero_count_int=3)), 7]


async def test_a_histogram_ends_and_forges_nothing(store_url):
    """A sender's NaN with a histogram's bits is an ordinary NaN, in every protocol."""
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        samples = wire.sample(at, HISTOGRAM_BITS) + wire.sample(at + 1, HISTOGRAM_BITS | 7)
        message = wire.field(1, wire.label(b"__name__", b"odd") + samples)
        assert (await path.send(tenant, wire.compressed(message))).histograms == 0
        columns = batch.unpack(await path.conn.fetchval("SELECT payload FROM metrics.batch"))
        assert values_of(columns) == [0x7FF8_0000_0000_0001] * 2


def exemplar_only(name: bytes, at: int, value: float = 1.0) -> bytes:
    """A series with an exemplar and nothing else, as Prometheus sends them."""
    return exemplars_only({name: value}, at)


def exemplars_only(values: dict[bytes, float], at: int) -> bytes:
    """A series with one exemplar for each name."""
    request = wire.WriteRequest()
    for name, value in values.items():
        one = {"labels": [{"name": b"t", "value": b"x"}], "value": value, "timestamp": at}
        request.timeseries.add(labels=[{"name": b"__name__", "value": name}], exemplars=[one])
    return wire.compressed(request.SerializeToString())


async def test_exemplars_come_without_samples_and_hold_to_limits(store_url):
    """An exemplar finds its series by labels, also a series that is new; times, the plan's series
    and its rate bound it as they bound samples.
    """
    async with write_path(store_url) as path:
        tenant, at = uuid4(), now_ms()
        capped = Limits(active_series=1)
        outcomes = [
            await path.send(tenant, exemplar_only(b"a", at), capped),
            await path.send(tenant, exemplar_only(b"a", at + 3_600_000), capped),
            await path.send(tenant, exemplar_only(b"b", at), capped),
        ]
        assert [one.exemplars for one in outcomes] == [1, 0, 0]
        assert outcomes[1].skipped == {"invalid_exemplar": 1}
        assert await path.conn.fetchval("SELECT count(*) FROM metrics.series") == 1
        slow = Limits(samples_per_s=1, burst_samples=1)
        assert (await path.send(tenant, exemplar_only(b"a", at, 2.0), slow)).exemplars == 1
        with pytest.raises(RateLimited):
            await path.send(tenant, exemplar_only(b"a", at, 3.0), slow)
    assert [row[2] for row in await exemplars(store_url)] == [1.0, 2.0]


async def test_exemplars_of_many_new_series_are_under_their_own(store_url):
    """Of more series than are looked up on the event loop, too."""
    tenant, values = uuid4(), {b"m%d" % i: float(i) for i in range(INLINE_EXEMPLARS_MAX + 1)}
    async with write_path(store_url) as path:
        outcome = await path.send(tenant, exemplars_only(values, now_ms()))
        assert outcome.exemplars == len(values)
        rows = await path.conn.fetch(
            "SELECT s.labels ->> '__name__' AS name, value FROM metrics.exemplar"
            " JOIN metrics.series AS s USING (series_id)"
        )
        assert {row["name"].encode(): row["value"] for row in rows} == values
        assert len(rows) == len(values)


async def test_exemplars_are_trimmed_by_number_and_age(store_url):
    """A tenant keeps its newest, none older than 30 days, or than its plan where that says less."""
    conn, now = await asyncpg.connect(store_url), now_ms()
    many, short, free = UUID(int=1), UUID(int=2), UUID(int=3)
    await conn.executemany(tables.SET_RETENTION, [(many, 0), (short, 7), (free, 0)])
    days = {many: [0, 0, 1, 2, 3], short: [6, 8], free: [29, 31]}
    for tenant, ages in days.items():
        for series_id, age in enumerate(ages):
            row = [[series_id], [now - age * DAY_MS], [1.0], ["{}"]]
            await conn.execute(tables.INSERT_EXEMPLARS, tenant, *row)
    await upkeep.trim_exemplars(conn, now, exemplars_max=3)
    rows = await conn.fetch("SELECT tenant_id, series_id FROM metrics.exemplar ORDER BY 1, 2")
    await conn.close()
    left = [(row["tenant_id"], row["series_id"]) for row in rows]
    assert left == [(many, 0), (many, 1), (many, 2), (short, 0), (free, 0)]


async def test_as_many_exemplars_stay_as_a_tenant_may_have(store_url):
    """Also where all are of one time."""
    conn, now, tenant = await asyncpg.connect(store_url), now_ms(), UUID(int=1)
    await conn.execute(tables.SET_RETENTION, tenant, 0)
    columns = [list(range(5)), [now] * 5, [1.0] * 5, ["{}"] * 5]
    await conn.execute(tables.INSERT_EXEMPLARS, tenant, *columns)
    for _ in range(2):
        await upkeep.trim_exemplars(conn, now, exemplars_max=3)
        assert await conn.fetchval("SELECT count(*) FROM metrics.exemplar") == 3
    await conn.close()


async def test_a_tenant_whose_exemplars_cannot_be_trimmed_holds_up_no_other(store_url):
    """The failure is its own."""
    conn, now = await asyncpg.connect(store_url), now_ms()
    tenants = [UUID(int=number) for number in (1, 2, 3)]
    for tenant in tenants:
        await conn.execute(tables.SET_RETENTION, tenant, 0)
        row = [[1], [now - 31 * DAY_MS], [1.0], ["{}"]]
        await conn.execute(tables.INSERT_EXEMPLARS, tenant, *row)
    await conn.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON metrics.exemplar FOR EACH ROW"
        f" WHEN (old.tenant_id = '{tenants[1]}') EXECUTE FUNCTION refuse()"
    )
    await upkeep.trim_exemplars(conn, now)
    rows = await conn.fetch("SELECT tenant_id FROM metrics.exemplar")
    await conn.close()
    assert [row["tenant_id"] for row in rows] == [tenants[1]]
