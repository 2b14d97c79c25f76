"""What one tenant, or one client, can do to others: over HTTP, with real samples."""

import asyncio
import json
import threading
import uuid
from contextlib import asynccontextmanager

import pyarrow as pa
import pytest
from conftest import NOW_MS
from prometheus_client import REGISTRY

from data_api.chassis.identity import Limits
from data_api.engine import Running

T = NOW_MS // 1000
SPAN = f"start={T - 60}&end={T}"
READS = {
    "/api/v1/query": "query=up",
    "/api/v1/query_range": f"query=up&step=15&{SPAN}",
    "/api/v1/labels": SPAN,
    "/api/v1/label/job/values": SPAN,
    "/api/v1/series": f"match[]=up&{SPAN}",
    "/api/v1/export": "match[]=up",
    "/api/v1/status/tsdb": "",
    "/api/v1/cardinality": "",
}
every_read = pytest.mark.parametrize("path", READS)


def engine_of(client):
    return client._transport.app.state.services.engine


def scope_of(path, key, method="GET", **headers):
    """A request as the server gives it to the app."""
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "scheme": "http", "path": path, "raw_path": path.encode(),
        "query_string": READS.get(path, "").encode(), "root_path": "", "server": ("das", 80),
        "client": ("127.0.0.1", 1), "headers": [(b"x-api-key", key.encode()), *named], "state": {},
    }  # fmt: skip


def requests(status):
    """Requests answered with `status`, over all routes: what the log and the metric say alike."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "cloudopshub_http_requests_total" and sample.labels["status"] == status
    )


@asynccontextmanager
async def every_thread_it_can_have(engine, tenant, queries):
    """Inside the block `queries` of the tenant compute, or wait until they may."""
    gate = threading.Event()
    async with asyncio.TaskGroup() as group:

        async def one():
            async with Running(engine, tenant, Limits()) as query:
                await query.limits.run(gate.wait)

        for _ in range(queries):
            group.create_task(one())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            gate.set()


@every_read
async def test_a_tenant_is_answered_whatever_another_runs(serve, hub, ingest, tenant, path):
    """20 queries of one tenant that compute for ever leave another's every read as it was."""
    await ingest.write(tenant, {"__name__": "up", "job": "x"}, [(NOW_MS, 1.0)])
    client = await serve(query_threads=2)
    client.headers["X-API-Key"] = hub.key(tenant)
    async with every_thread_it_can_have(engine_of(client), uuid.uuid4(), 20), asyncio.timeout(600):
        for url in (f"{path}?{READS[path]}", "/api/v1/query?query=vector(1)"):
            answer = await client.get(url)
            assert answer.status_code == 200, answer.text


async def test_a_thread_that_does_not_come_is_told(serve, hub, tenant):
    """Whoever waits for a thread of its own tenant is refused in time, with when to come again."""
    client = await serve(query_threads=1, queue_timeout_s=0.05)
    client.headers["X-API-Key"] = hub.key(tenant)
    async with every_thread_it_can_have(engine_of(client), tenant, 1):
        answer = await client.get("/api/v1/query", params={"query": "vector(1)"})
    assert (answer.status_code, answer.json()["errorType"]) == (503, "timeout")
    assert answer.json()["error"] == "query timed out in query queue"
    assert answer.headers["retry-after"] == "1"


async def test_a_tenants_queue_has_a_bound(serve, hub, tenant):
    """More queries than may run and wait are refused at once; other tenants are not."""
    client = await serve(query_queue=0)
    key, other = hub.key(tenant, query_concurrency=1), hub.key(uuid.uuid4())
    async with every_thread_it_can_have(engine_of(client), tenant, 1):
        ask = {"url": "/api/v1/query", "params": {"query": "vector(1)"}}
        answer = await client.get(**ask, headers={"X-API-Key": key})
        assert (answer.status_code, answer.json()["errorType"]) == (429, "rate_limited")
        assert "too many outstanding requests" in answer.json()["error"]
        assert answer.headers["retry-after"] == "1"
        assert (await client.get(**ask, headers={"X-API-Key": other})).status_code == 200


async def test_no_tenant_holds_the_last_of_the_memory(serve, hub, ingest, tenant):
    """Samples that one tenant's slow clients hold are refused to it, not to others."""
    other = uuid.uuid4()
    for one, samples in ((tenant, 20), (other, 5)):
        await ingest.write(one, {"__name__": "up"}, [(NOW_MS - n, 1.0) for n in range(samples)])
    client = await serve(samples_held_max=40)
    key, other_key = hub.key(tenant), hub.key(other)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def receive():
        await asyncio.Event().wait()

    async def slow_send(message):
        if message["type"] == "http.response.body" and message["body"]:
            begun.set()
            await goes_on.wait()

    scope = scope_of("/api/v1/export", key)
    reading = asyncio.create_task(client._transport.app(scope, receive, slow_send))
    async with asyncio.timeout(600):
        await begun.wait()
        ask = {"url": "/api/v1/query", "params": {"query": "count_over_time(up[1m])"}}
        refused = await client.get(**ask, headers={"X-API-Key": key})
        assert (refused.status_code, refused.json()["errorType"]) == (503, "unavailable")
        assert "too many samples into memory" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
        assert (await client.get(**ask, headers={"X-API-Key": other_key})).status_code == 200
        goes_on.set()
        await reading
        assert (await client.get(**ask, headers={"X-API-Key": key})).status_code == 200


@pytest.mark.parametrize("path", list(READS)[:5])
async def test_an_answer_has_so_many_bytes(serve, hub, ingest, tenant, path):
    """One that would have more is 422 and says how many; `limit` makes it small enough."""
    for n in range(30):
        labels = {"__name__": "up", "job": f"a-long-name-{n}", f"a_long_label_{n}": "v"}
        await ingest.write(tenant, labels, [(NOW_MS - 1, 1.0)])
    client = await serve(answer_bytes_max=400)
    client.headers["X-API-Key"] = hub.key(tenant)
    url = f"{path}?{READS[path]}"
    answer = await client.get(url)
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")
    assert "limit=400" in answer.json()["error"]
    assert (await client.get(url + "&limit=1")).status_code == 200


async def test_an_answer_is_held_until_it_is_read(serve, hub, ingest, tenant):
    """A client that reads slowly keeps its query's slot; when it has read all, the slot is free."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0)])
    client = await serve(queue_timeout_s=0.05)
    client.headers["X-API-Key"] = key = hub.key(tenant, query_concurrency=1)
    begun, goes_on, body = asyncio.Event(), asyncio.Event(), []

    async def receive():
        await asyncio.Event().wait()

    async def slow_send(message):
        body.append(message.get("body", b""))
        if body[-1]:
            begun.set()
            await goes_on.wait()

    scope = scope_of("/api/v1/query", key)
    reading = asyncio.create_task(client._transport.app(scope, receive, slow_send))
    async with asyncio.timeout(600):
        await begun.wait()
        assert (await client.get("/api/v1/labels")).status_code == 429
        goes_on.set()
        await reading
        assert b'"status":"success"' in b"".join(body)
        assert (await client.get("/api/v1/labels")).status_code == 200


@every_read
async def test_a_client_that_leaves_ends_its_query(serve, hub, ingest, tenant, path):
    """When the client goes, its work is cancelled, the slot is free, and 499 is told: never 500."""
    await ingest.write(tenant, {"__name__": "up", "job": "x"}, [(NOW_MS, 1.0)])
    client = await serve()
    key = hub.key(tenant, query_concurrency=1)
    await client.get("/api/v1/labels", headers={"X-API-Key": key})
    await ingest.write(tenant, {"__name__": "up", "job": "y"}, [(NOW_MS, 1.0)])  # to be listed
    lock = engine_of(client).store.catalogue._tenants[tenant].lock
    gone, sent, first = asyncio.Event(), [], True
    closed, failed = requests("499"), requests("500")

    async def receive():
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async with lock:
        running = asyncio.create_task(client._transport.app(scope_of(path, key), receive, send))
        gone.set()
        await asyncio.wait_for(running, 600)
    assert sent[0]["status"] == 499
    assert (requests("499"), requests("500")) == (closed + 1, failed)
    answer = await client.get("/api/v1/query?query=up", headers={"X-API-Key": key})
    assert answer.status_code == 200


async def test_a_client_that_leaves_in_its_form_is_told_as_such(serve, hub, tenant):
    """A connection that closes before the form is whole is 499, no defect of ours."""
    client = await serve()
    messages = iter(
        [
            {"type": "http.request", "body": b"query=u", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent, closed, failed = [], requests("499"), requests("500")

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    form = {"content-type": "application/x-www-form-urlencoded"}
    scope = scope_of("/api/v1/query", hub.key(tenant), "POST", **form)
    await client._transport.app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert (requests("499"), requests("500")) == (closed + 1, failed)


async def test_work_of_a_client_that_left_ends_with_its_thread(serve, hub, tenant):
    """The thread stops at its next checkpoint; until then the query counts as running."""
    client = await serve()
    engine = engine_of(client)
    entered, goes_on, stopped = threading.Event(), threading.Event(), threading.Event()
    plan = Limits(query_concurrency=1)

    async def one():
        async with Running(engine, tenant, plan) as query:

            def work():
                entered.set()
                goes_on.wait(600)
                try:
                    query.limits.checkpoint()
                finally:
                    stopped.set()

            await query.limits.run(work)

    running = asyncio.create_task(one())
    await asyncio.to_thread(entered.wait, 600)
    running.cancel()
    await asyncio.wait([running])
    waiting = asyncio.create_task(one())
    await asyncio.sleep(0)
    assert engine.slots._queues[tenant].running == 1
    goes_on.set()
    await waiting
    assert stopped.is_set()


async def test_a_query_with_every_value_of_a_variable_is_answered(das):
    """600 pod names in one regex: 17 kB of query, by form as Grafana sends it."""
    names = "|".join(f"shop-frontend-7c9d8b6f5-{i:05d}" for i in range(600))
    query = f'sum by (pod) (rate(container_cpu_usage_seconds_total{{pod=~"{names}"}}[5m]))'
    answer = await das.post("/api/v1/query", data={"query": query})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["result"] == []
    narrowed = await das.post("/api/v1/series", data={"match[]": f'x{{pod=~"{names}"}}'})
    assert narrowed.json()["data"] == []


async def test_parameters_are_counted(das):
    """A request has at most 1,000 parameters, among them 256 selectors; one more is 400."""
    for name, count in (("match[]", 257), ("x", 1001)):
        answer = await das.post("/api/v1/series", data={name: ["up"] * count})
        assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert (await das.post("/api/v1/series", data={"match[]": ["up"] * 256})).status_code == 200


async def test_an_export_is_written_in_parts(das, ingest, tenant, monkeypatch):
    """Series longer than what is written at once, and shorter ones, come out whole in any form."""
    monkeypatch.setattr("data_api.api.export.RUN_SAMPLES", 7)
    monkeypatch.setattr("data_api.api.export.PIECE_BYTES", 64)
    for n, length in enumerate((1, 6, 7, 8, 50)):
        points = [(NOW_MS - at, float(at)) for at in range(length)]
        await ingest.write(tenant, {"__name__": "up", "n": str(n)}, points[::-1])
    ask = {"match[]": "up"}
    lines = (await das.get("/api/v1/export", params=ask)).text.splitlines()
    series = [json.loads(line) for line in lines]
    assert [len(one["values"]) for one in series] == [1, 6, 7, 8, 50]
    assert all(one["timestamps"] == [NOW_MS - v for v in one["values"]] for one in series)
    rows = (await das.get("/api/v1/export", params={**ask, "format": "csv"})).text.splitlines()
    assert len(rows) == 1 + 72
    arrow = await das.get("/api/v1/export", params={**ask, "format": "arrow"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert [one["values"] for one in series] == table["value"].to_pylist()
    assert [one["timestamps"] for one in series] == table["timestamp_ms"].to_pylist()


async def test_what_is_sent_to_a_client_that_left_is_computed_no_more(
    serve, hub, ingest, tenant, monkeypatch
):
    """An export ends when its client goes: no piece is made after it, and it counts as canceled.

    Watched from its beginning, not from the time on that small answers need less than.
    """
    monkeypatch.setattr("data_api.api.deps.WATCHED_AFTER_S", 0)
    for n in range(40):
        samples = [(NOW_MS - at, float(at)) for at in range(600)]
        await ingest.write(tenant, {"__name__": "up", "n": str(n)}, samples)
    client = await serve()
    key = hub.key(tenant)
    gone, pieces = asyncio.Event(), []

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message.get("body"):
            pieces.append(message["body"])
            gone.set()
            await asyncio.sleep(0)

    scope = scope_of("/api/v1/export", key)
    async with asyncio.timeout(600):
        await client._transport.app(scope, receive, send)
    assert len(pieces) == 1
    (left,) = engine_of(client).log.shown(tenant)["failed"]
    assert (left["kind"], left["outcome"]) == ("export", "canceled")


async def test_counts_of_series_wait_for_a_busy_index_in_a_thread(serve, hub, ingest, tenant):
    """The event loop goes on meanwhile, for everybody."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0)])
    client = await serve()
    engine = engine_of(client)
    client.headers["X-API-Key"] = hub.key(tenant)
    assert (await client.get("/api/v1/cardinality")).status_code == 200
    is_busy, went_on, waited = threading.Event(), threading.Event(), []

    def hold():
        with engine.store.catalogue.index(tenant)._lock:
            is_busy.set()
            waited.append(went_on.wait(600))

    holding = asyncio.create_task(asyncio.to_thread(hold))
    await asyncio.to_thread(is_busy.wait)
    counting = asyncio.create_task(client.get("/api/v1/cardinality"))
    turns = engine.turns
    while not turns._running:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    await asyncio.to_thread(lambda: None)
    went_on.set()
    assert (await counting).status_code == 200
    await holding
    assert waited == [True]


@pytest.mark.parametrize("path", ["/api/v1/query", "/api/v1/series", "/api/v1/export"])
async def test_a_query_that_ends_anywhere_gives_everything_back(serve, hub, ingest, tenant, path):
    """Slot, turn and memory are free again, after however many steps its client left, and also
    where it waited for its slot.
    """
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - n, 1.0) for n in range(50)])
    client = await serve()
    engine, key = engine_of(client), hub.key(tenant, query_concurrency=2)
    app = client._transport.app
    for steps in range(0, 90, 3):
        gone = [asyncio.Event() for _ in range(4)]

        def receive(left):
            async def message():
                await left.wait()
                return {"type": "http.disconnect"}

            return message

        async def send(_):
            await asyncio.sleep(0)

        tasks = [
            asyncio.create_task(app(scope_of(path, key), receive(left), send)) for left in gone
        ]
        for _ in range(steps):
            await asyncio.sleep(0)
        for left in gone:
            left.set()
        async with asyncio.timeout(600):
            await asyncio.wait(tasks)
            while engine.turns_alive or engine.slots._queues:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not engine.pool._held
        assert not engine.turns._running
        assert engine.turns._free == engine.turns._threads
        assert not engine.log.shown(tenant)["active"]
