"""Accepted + refused = received: for every protocol of the table and both listeners."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import httpx
from asgi_lifespan import LifespanManager

from data_ingest.app import create_app, otlp_options
from data_ingest.chassis.identity import Limits
from data_ingest.chassis.identity.keys import checksum
from data_ingest.errors import RateLimited
from data_ingest.model import Sender
from data_ingest.protocols import all_protocols, graphite
from data_ingest.protocols.influx import Naming
from data_ingest.protocols.text_lines import Received
from data_ingest.settings import Settings
from tests import otlp, wire
from tests.unit.test_firehose import METRIC, lines
from tests.unit.test_firehose import request as firehose_request
from tests.unit.test_firehose_otel import old_message, record

NOW_MS = int(time.time() * 1000)
LONG = "x" * 9000
NAME = b"__name__"
PLANS: tuple[dict[str, int], ...] = (
    {},
    {"samples_per_s": 1, "burst_samples": 1},
    {"active_series": 1},
)
REMOTE_WRITE = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}


@dataclass(frozen=True)
class Case:
    """A request with samples to store and some to refuse; received: how many it has in all."""

    protocol: str
    path: str
    body: bytes
    received: int
    headers: dict[str, str] = field(default_factory=dict)


def remote_write_2() -> bytes:
    message = wire.Request2(symbols=[b"", NAME, b"up", b"x", LONG.encode()])
    samples = [{"timestamp": NOW_MS, "value": 1.0}, {"timestamp": 1, "value": 1.0}]
    message.timeseries.add(labels_refs=[1, 2], samples=samples)
    message.timeseries.add(labels_refs=[1, 2, 3, 4], samples=samples[:1])
    return wire.compressed(bytes(message.SerializeToString()))


def otlp_points() -> bytes:
    made, scope_metrics = otlp.request(NOW_MS * 1_000_000)
    points = scope_metrics.metrics.add(name="more").gauge.data_points
    points.add(as_double=1.0)
    points.add(as_double=1.0, time_unix_nano=1_000_000)
    otlp.add_histogram(scope_metrics, NOW_MS * 1_000_000)
    return bytes(made.SerializeToString())


def cases() -> list[Case]:
    now, old = dict(METRIC, timestamp=NOW_MS), dict(METRIC, timestamp=1)
    two = [(NOW_MS, 1.0), (1, 1.0)]
    version_1 = wire.series([(NAME, b"up")], two) + wire.series([(NAME, b"up")] * 2, two[:1])
    firehose = firehose_request(lines(now, old) + b"bad\n", record(old_message()))
    influx = f"a v=1 {NOW_MS}\na v=2 1\nbad\na,x={LONG} v=1,w=2\n".encode()
    text = f'a 1 {NOW_MS}\nb 2 1\nc{{x="{LONG}"}} 3\n'.encode()
    version_2 = {
        **REMOTE_WRITE,
        "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    }
    graphite_text = f"a 1 -1\na 2 1\nbad\na;{LONG[:200]}={LONG[:7900]} 1\nb;c 1\n"
    return [
        Case("remote_write", "/api/v1/write", wire.compressed(version_1), 3, REMOTE_WRITE),
        Case("remote_write", "/api/v1/write", remote_write_2(), 3, version_2),
        Case("pushgateway", "/metrics/job/x", f'a 1\nc{{x="{LONG}"}} 3\n'.encode(), 3),
        Case("prometheus_text", "/api/v1/import/prometheus", text, 3),
        Case("firehose", "/firehose/v1/metrics", bytes(firehose.body), 12),
        Case("influx_v1", "/write?precision=ms", influx, 5),
        Case("influx_v2", "/api/v2/write?precision=ms", influx, 5),
        Case("otlp", "/v1/metrics", otlp_points(), 8, otlp.PROTOBUF),
        Case("graphite", "", graphite_text.encode(), 5),
    ]  # fmt: skip


def key_of(number: int) -> str:
    start = f"coh_live_{number:032}"
    return start + checksum(start)


def billing(request: httpx.Request) -> httpx.Response:
    """The tenant of key n is organisation n, its plan n mod 3."""
    if request.url.path != "/internal/introspect":
        return httpx.Response(200, json={"status": "ok", "seq": 0, "revocations": []})
    number = int(json.loads(request.content)["key"][9:41])
    facts = {"key_id": str(UUID(int=number)), "tenant": str(UUID(int=number))}
    answer = {"active": True, "expires_at": None, "ttl_s": 60, "scopes": ["metrics:write"], **facts}
    return httpx.Response(200, json={**answer, "limits": PLANS[number % 3]})


async def test_accepted_and_refused_are_what_was_received(store_url):
    """Whatever the protocol and the plan: without limits, over the rate, over the cap of series;
    each request has samples that are too old, of invalid labels or unreadable, and comes twice.
    """
    settings = Settings.model_validate(
        {
            "database_url": store_url,
            "object_store_url": "file:///nowhere",
            "ubs_url": "http://ubs",
            "service_token": "t" * 43,
            "background": False,
        }
    )
    table = {row.name for row in all_protocols(Naming(), otlp_options(settings))}
    assert {case.protocol for case in cases()} == {*table, "graphite"}
    app = create_app(settings, http=httpx.AsyncClient(transport=httpx.MockTransport(billing)))
    wanted = dict[UUID, tuple[str, int]]()
    async with (
        LifespanManager(app, startup_timeout=600, shutdown_timeout=600),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dis") as client,
    ):
        deadline = time.monotonic() + 600
        while (await client.get("/ready")).status_code != 200:
            assert time.monotonic() < deadline, "not ready within the bound"
            await asyncio.sleep(0.01)
        for number, (case, plan) in enumerate(
            ((case, plan) for case in cases() for plan in PLANS), start=3
        ):
            tenant = UUID(int=number)
            wanted[tenant] = (f"{case.protocol} {plan}", 2 * case.received)
            for _ in range(2):
                if case.path:
                    headers = {**case.headers, "x-api-key": key_of(number)}
                    await client.post(case.path, content=case.body, headers=headers)
                    continue
                text = Received(case.body, NOW_MS)
                sender = Sender(tenant, "listener")
                limits = Limits.from_json(PLANS[number % 3])
                try:
                    await app.state.services.pipeline.ingest_body(
                        sender, lambda text=text: graphite.decode([text]), limits, "graphite"
                    )
                except RateLimited:
                    continue
    conn = await asyncpg.connect(store_url)
    stored, refused = [
        dict(await conn.fetch(f"SELECT tenant_id, sum(samples) FROM metrics.{name} GROUP BY 1"))
        for name in ("batch", "refused_hour")
    ]
    await conn.close()
    for tenant, (name, received) in wanted.items():
        assert stored[tenant] > 0, name
        assert stored[tenant] + refused[tenant] == received, name
