"""OTLP over HTTP, against a real Postgres: what is stored, and what senders are told."""

import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import asyncpg
import cramjam
import httpx
import numpy as np
import pytest
from asgi_lifespan import LifespanManager
from google.protobuf.json_format import MessageToDict

from data_ingest import batch
from data_ingest.api.body import MemoryBudget, Pace
from data_ingest.api.write import WriteEndpoint, WritePath
from data_ingest.app import create_app
from data_ingest.chassis.identity.keys import checksum
from data_ingest.chassis.identity.principal import Limits, Principal
from data_ingest.errors import Overloaded
from data_ingest.protocols.otlp import Options, protocol
from data_ingest.protocols.protocol import Bounds
from data_ingest.settings import Settings
from tests import otlp, wire
from tests.otlp import JSON, PROTOBUF, Response
from tests.write_path import locked

TENANT = UUID(int=0x071)
DAY_NS = 86_400_000_000_000


def key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


PLANS: dict[str, dict[str, Any]] = {
    key_of("w"): {"scopes": ["metrics:write"], "limits": {"retention_days": 30}},
    key_of("r"): {"scopes": ["metrics:read"], "limits": {}},
    key_of("s"): {"scopes": ["metrics:write"], "limits": {"active_series": 3}},
    key_of("l"): {"scopes": ["metrics:write"], "limits": {"samples_per_s": 1, "burst_samples": 1}},
}
WRITER, READER, SMALL, SLOW = PLANS


def hub(request: httpx.Request) -> httpx.Response:
    """user-billing-service, as far as dis asks it."""
    if request.url.path != "/internal/introspect":
        return httpx.Response(200, json={"seq": 0, "revocations": [], "tenant": None})
    plan = PLANS.get(json.loads(request.content)["key"])
    if plan is None:
        return httpx.Response(200, json={"active": False, "reason": "unknown"})
    return httpx.Response(
        200,
        json={
            "active": True,
            "key_id": str(UUID(int=1)),
            "tenant": str(TENANT),
            "expires_at": None,
            "ttl_s": 60,
            **plan,
        },
    )


@contextlib.asynccontextmanager
async def service(url: str, folder, **changes) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole app; its default key may write."""
    settings = Settings.model_validate(
        {
            "database_url": url,
            "object_store_url": f"file://{folder}",
            "service_token": "t" * 43,
            "ubs_url": "http://ubs",
            "background": False,
            "decoded_bytes_max": 1 << 20,
            "body_bytes_max": 1 << 18,
            **changes,
        }
    )
    app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(hub)))
    async with LifespanManager(app, startup_timeout=600, shutdown_timeout=600):
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {WRITER}", **PROTOBUF}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://dis", headers=headers
        ) as client:
            while (await client.get("/ready")).status_code != 200:
                pass
            yield client


async def stored(url: str) -> list[tuple[dict[str, str], int, int]]:
    """(labels, timestamp, bits) of every stored sample."""
    conn = await asyncpg.connect(url)
    series = await conn.fetch("SELECT series_id, labels FROM metrics.series")
    batches = await conn.fetch("SELECT payload FROM metrics.batch ORDER BY batch_id")
    await conn.close()
    labels = {row["series_id"]: json.loads(row["labels"]) for row in series}
    samples = []
    for row in batches:
        columns = batch.unpack(row["payload"])
        bits = np.ascontiguousarray(columns.values).view(np.uint64).tolist()
        whole = zip(columns.series_ids.tolist(), columns.timestamps_ms.tolist(), bits, strict=True)
        samples += [(labels[one], at, value) for one, at, value in whole]
    return samples


async def refused(url: str) -> dict[str, int]:
    conn = await asyncpg.connect(url)
    rows = await conn.fetch(
        "SELECT reason, sum(samples)::bigint AS n FROM metrics.refused_hour GROUP BY 1"
    )
    await conn.close()
    return {row["reason"]: row["n"] for row in rows}


def now_ns() -> int:
    return time.time_ns()


def as_json(request: Any) -> bytes:
    return json.dumps(MessageToDict(request, use_integers_for_enums=True)).encode()


def status_of(answer: httpx.Response) -> tuple[int, str]:
    """Code and message of a google.rpc.Status in protobuf."""
    assert answer.headers["content-type"] == "application/x-protobuf"
    parts = dict(wire.fields(answer.content))
    return cast("int", parts[8]), cast("bytes", parts[18]).decode()


async def test_what_is_sent_is_stored(store_url, tmp_path):
    """Protobuf and JSON, plain and compressed, on both paths: every sample is in the store with
    its labels and bits, the answer is empty and in the sender's encoding, metrics are described.
    """
    at = now_ns()
    request, scope_metrics = otlp.request(at, service__name="api", host__name="h1")
    otlp.add_histogram(scope_metrics, at)
    meaning = otlp.Meaning(request)
    target = {"__name__": "target_info", "job": "api", "host_name": "h1"}
    body = request.SerializeToString()
    sent = [
        ("/v1/metrics", body, PROTOBUF),
        ("/v1/metrics/", gzip.compress(body), {**PROTOBUF, "content-encoding": "gzip"}),
        (
            "/api/v1/otlp/v1/metrics",
            bytes(cramjam.zstd.compress(body)),
            {**PROTOBUF, "content-encoding": "zstd"},
        ),
        ("/v1/metrics", as_json(request), JSON),
    ]
    async with service(store_url, tmp_path) as client:
        for path, content, headers in sent:
            answer = await client.post(path, content=content, headers=headers)
            is_json = headers == JSON
            assert (answer.status_code, answer.content) == (200, b"{}" if is_json else b"")
            assert answer.headers["content-type"] == headers["content-type"]
    samples = await stored(store_url)
    # host.name is promoted by default.
    expected = [
        (dict(labels or ()) | {"host_name": "h1"}, ms, bits) for labels, ms, bits in meaning.samples
    ]
    one = [(target, at // 1_000_000, otlp.bits_of(1.0)), *expected]
    assert samples == one * len(sent)
    conn = await asyncpg.connect(store_url)
    described = await conn.fetch("SELECT metric_name, type, help, unit FROM metrics.metadata")
    await conn.close()
    assert {tuple(row) for row in described} == {
        ("target_info", "gauge", "Target metadata", ""),
        ("temperature_celsius", "gauge", "How warm.", "celsius"),
        ("http_server_duration_seconds", "histogram", "", "seconds"),
    }


async def test_nothing_sent_is_a_success(store_url, tmp_path):
    """An empty request is answered as any other."""
    async with service(store_url, tmp_path) as client:
        assert (await client.post("/v1/metrics", content=b"")).status_code == 200
        answer = await client.post("/v1/metrics", content=b"{}", headers=JSON)
        assert (answer.status_code, answer.json()) == (200, {})


async def test_partial_success_counts_data_points(store_url, tmp_path):
    """A histogram that is too old is one rejected data point, though it is five samples; so is
    each histogram that is invalid; the rest is stored, and the tenant's count of refused
    samples agrees.
    """
    at = now_ns()
    request, scope_metrics = otlp.request(at)
    otlp.add_histogram(scope_metrics, at - 365 * DAY_NS)
    exponential = scope_metrics.metrics.add(name="e").exponential_histogram
    exponential.aggregation_temporality = 2
    for _ in range(3):
        exponential.data_points.add(time_unix_nano=at, scale=-5)
    message = (
        "4 data points: 8 samples refused (invalid_histogram=3 too_old=5), 1 stored;"
        " first: metric 'e': scale -5 is below -4"
    )
    async with service(store_url, tmp_path) as client:
        answer = await client.post("/v1/metrics", content=request.SerializeToString())
        partial = Response.FromString(answer.content).partial_success
        assert answer.status_code == 200
        assert (partial.rejected_data_points, partial.error_message) == (4, message)
        answer = await client.post("/v1/metrics", content=as_json(request), headers=JSON)
        assert answer.json() == {
            "partialSuccess": {"rejectedDataPoints": "4", "errorMessage": message}
        }
    assert [labels["__name__"] for labels, _, _ in await stored(store_url)] == [
        "temperature_celsius"
    ] * 2
    assert await refused(store_url) == {"invalid_histogram": 6, "too_old": 10}


async def test_a_point_with_a_refused_part_is_rejected_once(store_url, tmp_path):
    """Where the plan has no room for some of a histogram's series, or a name is left with nothing,
    the data point counts once; `target_info` is no data point.
    """
    at = now_ns()
    request, scope_metrics = otlp.request(at, service__name="api", host__name="h1")
    otlp.add_histogram(scope_metrics, at)
    scope_metrics.metrics.add(name="☃").gauge.data_points.add(time_unix_nano=at, as_int=1)
    headers = {"Authorization": f"Bearer {SMALL}"}
    async with service(store_url, tmp_path) as client:
        answer = await client.post(
            "/v1/metrics", content=request.SerializeToString(), headers=headers
        )
        partial = Response.FromString(answer.content).partial_success
        assert (answer.status_code, partial.rejected_data_points) == (200, 2)
        assert "active_series_limit=4 invalid_labels=1" in partial.error_message
    assert len(await stored(store_url)) == 3


async def test_failures_are_a_status_in_the_senders_encoding(store_url, tmp_path):
    """Each refusal of a whole request has its HTTP status and a google.rpc.Status that says why,
    in protobuf and in JSON; a retry is asked for only where it helps.
    """
    request, _ = otlp.request(now_ns())
    body = request.SerializeToString()
    two, scope_metrics = otlp.request(now_ns())
    otlp.add_histogram(scope_metrics, now_ns())
    bearer = "Bearer {}".format
    async with service(store_url, tmp_path) as client:
        for content, headers, status, code, words in (
            (body, {"Authorization": ""}, 401, 16, "credential"),
            (body, {"Authorization": bearer(READER)}, 403, 7, "metrics:write"),
            (b"\x0a\x05x", {}, 400, 3, "malformed protobuf"),
            (bytes(1 << 19), {}, 413, 8, "limit=262144"),
            (gzip.compress(bytes(2 << 20)), {"content-encoding": "gzip"}, 413, 8, "decompressed"),
            (body, {"content-encoding": "br"}, 415, 12, "gzip, zstd or deflate"),
            (two.SerializeToString(), {"Authorization": bearer(SLOW)}, 200, 0, ""),
            (body, {"Authorization": bearer(SLOW)}, 429, 8, "samples a second"),
        ):
            answer = await client.post("/v1/metrics", content=content, headers=headers)
            assert answer.status_code == status, answer.content
            if status != 200:
                rpc_code, message = status_of(answer)
                assert rpc_code == code
                assert words in message
            assert ("retry-after" in answer.headers) == (status == 429)
            assert ("www-authenticate" in answer.headers) == (status == 401)
        answer = await client.post("/v1/metrics", content=b"[]", headers=JSON)
        assert answer.headers["content-type"] == "application/json"
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert "expected an object" in answer.json()["message"]
        answer = await client.post("/v1/metrics", content=b"x", headers={"content-type": "a/b"})
        assert (answer.status_code, answer.json()["code"]) == (415, 12)


async def test_an_absent_store_is_503_and_sent_again(store_url, tmp_path):
    """When Postgres does not commit in time nothing is acknowledged, and the same request later is
    stored once.
    """
    request, _ = otlp.request(now_ns())
    body = request.SerializeToString()
    async with service(store_url, tmp_path, commit_timeout_s=1.0) as client:
        async with locked(store_url):
            answer = await client.post("/v1/metrics", content=body)
            assert (answer.status_code, status_of(answer)[0]) == (503, 14)
        while (answer := await client.post("/v1/metrics", content=body)).status_code == 503:
            pass
        assert answer.status_code == 200
    assert {at for _, at, _ in await stored(store_url)} == {
        request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano
        // 1_000_000
    }


async def test_settings_choose_names_and_labels(store_url, tmp_path):
    """Names may stay as they are, the scope out of the labels, and deltas may be added up."""
    at = now_ns()
    request, scope_metrics = otlp.request(at, service__name="api", rack="7")
    scope_metrics.scope.name = "lib"
    counter = scope_metrics.metrics.add(name="work.done").sum
    counter.aggregation_temporality, counter.is_monotonic = 1, True
    for step in (2, 1):
        counter.data_points.add(time_unix_nano=at - step, as_int=step)
    changes = {
        "otlp_names": "NoTranslation",
        "otlp_promote": " rack, ",
        "otlp_scope_labels": False,
        "otlp_delta": "cumulative",
    }
    async with service(store_url, tmp_path, **changes) as client:
        answer = await client.post("/v1/metrics", content=request.SerializeToString())
        assert (answer.status_code, answer.content) == (200, b"")
    samples = [(labels, bits) for labels, _, bits in await stored(store_url)]
    counted = {"__name__": "work.done", "job": "api", "rack": "7"}
    assert samples[-2:] == [(counted, otlp.bits_of(2.0)), (counted, otlp.bits_of(3.0))]


class AnyTenant:
    """Every caller may write."""

    async def authenticate(self, *_):
        return Principal(
            TENANT, "key", None, frozenset({"metrics:write"}), Limits(), "api_key", None
        )


class Failing:
    """A write path that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def ingest_body(self, *_, **_options):
        raise self.error


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [(Overloaded(detail="memory", retry_after_s=1), "1"), (RuntimeError("a mistake"), None)],
    ids=["overload", "our mistake"],
)
async def test_our_own_trouble_is_503(error, retry_after):
    """Overload, and a mistake of ours as well: after 500 senders of OTLP would drop the data."""
    identity, pipeline = cast("Any", AnyTenant()), cast("Any", Failing(error))
    pace = Pace(60.0, 60.0, 1)
    path = WritePath(identity, pipeline, MemoryBudget(1 << 20), Bounds(1000, 10), 1000, pace)
    endpoint = WriteEndpoint(protocol(Options()), "/v1/metrics", path)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(endpoint), base_url="http://dis"
    ) as client:
        answer = await client.post("/v1/metrics", content=b"", headers=PROTOBUF)
        assert (answer.status_code, status_of(answer)[0]) == (503, 14)
        assert answer.headers.get("retry-after") == retry_after
        assert "a mistake" not in status_of(answer)[1]
