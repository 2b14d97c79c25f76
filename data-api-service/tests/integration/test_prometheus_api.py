"""The Prometheus HTTP API, as Grafana and other clients use it."""

import asyncio
import json
import math
import uuid
from dataclasses import replace

import httpx  # noqa: TC002 - fixtures say what they are
import numpy as np
import pyarrow as pa
import pytest
from conftest import NOW_MS

from data_api.model import STALE_BITS

T = NOW_MS // 1000
BOTH = pytest.mark.parametrize("base", ["/api/v1", "/prometheus/api/v1"])
METHODS = pytest.mark.parametrize("method", ["GET", "POST"])


async def call(client, path, method="GET", **params):
    """The response of a GET or of the form POST that Grafana sends."""
    if method == "POST":
        return await client.post(path, data=params)
    return await client.get(path, params=params)


@pytest.fixture
async def filled(das, ingest, tenant):
    """Two jobs, two hosts, a counter each 15 s for ten minutes; half of it in a block."""
    for host in ("a", "b"):
        for job in ("api", "db"):
            labels = {"__name__": "requests_total", "job": job, "host": host}
            await ingest.write(
                tenant, labels, [(NOW_MS - 600_000 + n * 15_000, n * 30.0) for n in range(20)]
            )
    await ingest.compact(tenant)
    for host in ("a", "b"):
        for job in ("api", "db"):
            labels = {"__name__": "requests_total", "job": job, "host": host}
            await ingest.write(
                tenant, labels, [(NOW_MS - 600_000 + n * 15_000, n * 30.0) for n in range(20, 41)]
            )
    return das


@BOTH
@METHODS
async def test_save_and_test(das, base, method):
    """Grafana's probe: `1+1` at time 4, in 1970, is a scalar."""
    answer = await call(das, f"{base}/query", method, query="1+1", time="4")
    assert answer.status_code == 200
    assert answer.text == '{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}'
    assert answer.headers["content-type"] == "application/json"


async def test_no_answer_has_samples_past_the_plans_retention(das, ingest, hub, tenant):
    """Queries, exports and lists end where the caller's plan ends, whatever is still stored."""
    day_ms = 86_400_000
    times = [NOW_MS - 2 * day_ms, NOW_MS - day_ms - 1, NOW_MS - day_ms, NOW_MS]
    await ingest.write(tenant, {"__name__": "up"}, [(ms, 1.0) for ms in times])
    await ingest.write(tenant, {"__name__": "up", "job": "old"}, [(times[0], 1.0)])
    counts = []
    for days in (1, None):
        das.headers["X-API-Key"] = hub.key(tenant, retention_days=days)
        query = await call(das, "/api/v1/query", query="sum(count_over_time(up[9d]))", time=T)
        export = await call(das, "/api/v1/export", **{"match[]": "up"}, start=T - 864_000, end=T)
        series = await call(das, "/api/v1/series", **{"match[]": "up"}, start=T - 864_000, end=T)
        values = [one for line in export.text.splitlines() for one in json.loads(line)["values"]]
        count = query.json()["data"]["result"][0]["value"][1]
        counts.append((count, len(values), len(series.json()["data"])))
    assert counts == [("2", 2, 1), ("5", 5, 2)]


@METHODS
async def test_a_range_query_spans_block_and_head(filled, method):
    """Steps are start, start + step, … end; the ends are not moved; both sources make one curve."""
    answer = await call(
        filled,
        "/api/v1/query_range",
        method,
        query="sum by (job) (rate(requests_total[1m]))",
        start=f"{T - 299.5}",
        end=str(T),
        step="15",
    )
    data = answer.json()["data"]
    assert data["resultType"] == "matrix"
    assert [series["metric"] for series in data["result"]] == [{"job": "api"}, {"job": "db"}]
    times = [at for at, _ in data["result"][0]["values"]]
    assert times == [T - 299.5 + 15 * n for n in range(20)]
    assert [float(value) for _, value in data["result"][0]["values"]] == pytest.approx([4] * 20)


async def test_labels_values_and_series(filled):
    """Names, values and label sets: of all time or a span, of all series or matching ones."""
    names = (await call(filled, "/api/v1/labels")).json()["data"]
    assert names == ["__name__", "host", "job"]
    assert (await call(filled, "/api/v1/labels", "POST")).json()["data"] == names
    values = "/api/v1/label/job/values"
    assert (await call(filled, values)).json()["data"] == ["api", "db"]
    narrowed = {"match[]": 'requests_total{job!="db"}', "start": str(T - 60), "end": str(T)}
    assert (await call(filled, values, **narrowed)).json()["data"] == ["api"]
    past = {"start": "0", "end": "1000"}
    assert (await call(filled, values, **past)).json()["data"] == []
    names = await call(filled, "/api/v1/label/__name__/values")
    assert names.json()["data"] == ["requests_total"]
    found = await filled.get(
        "/api/v1/series", params=[("match[]", '{host="a",job="db"}'), ("match[]", '{host="b"}')]
    )
    assert sorted((one["host"], one["job"]) for one in found.json()["data"]) == [
        ("a", "db"),
        ("b", "api"),
        ("b", "db"),
    ]


async def test_utf8_label_names_arrive_escaped(das, ingest, tenant):
    """`U__http_2e_code` in the path is the label `http.code`."""
    await ingest.write(tenant, {"__name__": "up", "http.code": "200"}, [(NOW_MS, 1.0)])
    found = await das.get("/api/v1/label/U__http_2e_code/values")
    assert found.json()["data"] == ["200"]


async def test_a_limit_truncates_and_says_so(filled):
    """`limit` keeps the first answers and adds a warning; 0 and a large one change nothing."""
    for path, params, size in (
        ("labels", {}, 3),
        ("label/host/values", {}, 2),
        ("series", {"match[]": "requests_total"}, 4),
    ):
        cut = (await call(filled, f"/api/v1/{path}", limit="1", **params)).json()
        assert len(cut["data"]) == 1
        assert cut["warnings"] == ["results truncated due to limit"]
        whole = (await call(filled, f"/api/v1/{path}", limit=str(size), **params)).json()
        assert len(whole["data"]) == size
        assert "warnings" not in whole
    cut = (await call(filled, "/api/v1/query", query="requests_total", limit="3")).json()
    assert len(cut["data"]["result"]) == 3
    assert cut["warnings"] == ["results truncated due to limit"]


@pytest.mark.parametrize(
    ("path", "params", "words"),
    [
        ("query", {}, 'invalid parameter "query"'),
        ("query", {"query": "up{"}, 'invalid parameter "query": 1:4: parse error:'),
        ("query", {"query": "up", "time": "soon"}, 'invalid parameter "time"'),
        ("query", {"query": "up", "time": "1e300"}, 'invalid parameter "time"'),
        ("query", {"query": "up", "timeout": "x"}, 'invalid parameter "timeout"'),
        ("query", {"query": "up", "limit": "-1"}, 'invalid parameter "limit"'),
        ("query_range", {"query": "up", "end": "1", "step": "1"}, 'invalid parameter "start"'),
        (
            "query_range",
            {"query": "up", "start": "2", "end": "1", "step": "1"},
            "end timestamp must not be before start time",
        ),
        (
            "query_range",
            {"query": "up", "start": "1", "end": "2", "step": "0"},
            "zero or negative query resolution step widths are not accepted",
        ),
        (
            "query_range",
            {"query": "up", "start": "0", "end": "11001", "step": "1"},
            "exceeded maximum resolution of 11,000 points per timeseries",
        ),
        ("series", {}, "no match[] parameter provided"),
        ("series", {"match[]": '{job=~".*"}'}, "must contain at least one non-empty matcher"),
        ("series", {"match[]": "rate(x[5m])"}, 'invalid parameter "match[]"'),
        ("labels", {"start": "2", "end": "1"}, "end timestamp must not be before start time"),
        ("export", {"match[]": "up", "format": "xml"}, 'invalid parameter "format"'),
    ],
)
@METHODS
async def test_what_cannot_be_understood_is_bad_data(das, path, params, words, method):
    """400 `bad_data` in Prometheus's words, on GET and on POST alike."""
    answer = await call(das, f"/api/v1/{path}", method, **params)
    assert answer.status_code == 400
    body = answer.json()
    assert (body["status"], body["errorType"]) == ("error", "bad_data")
    assert words in body["error"]


async def test_eleven_thousand_intervals_pass(das):
    """The limit counts intervals: 11,001 points are answered."""
    answer = await call(
        das, "/api/v1/query_range", query="vector(1)", start="0", end="11000", step="1"
    )
    assert len(answer.json()["data"]["result"][0]["values"]) == 11_001


async def test_what_cannot_be_evaluated_is_an_execution_error(filled):
    """A many-to-many match is 422 `execution`."""
    query = "requests_total + on (job) requests_total"
    answer = await call(filled, "/api/v1/query", query=query)
    assert answer.status_code == 422
    assert answer.json()["errorType"] == "execution"


@pytest.mark.parametrize("year", ["1762000000000", "-9223372036", "4000000000000000"])
async def test_any_year_is_a_time(das, year):
    """Grafana sends milliseconds for seconds: the year 57,000 is as good as any."""
    exemplars = await call(das, "/api/v1/query_exemplars", query="test", start=year, end=year)
    assert exemplars.json() == {"status": "success", "data": []}
    answer = await call(das, "/api/v1/query", query="up", time=year)
    assert answer.json()["data"]["result"] == []
    values = await call(das, "/api/v1/label/job/values", start=year, end=year)
    assert values.json()["data"] == []


async def test_what_grafana_asks_at_start(das, ingest, tenant):
    """Every status call answers 200; `features` of buildinfo say that there is a ruler API."""
    await ingest.write(tenant, {"__name__": "up", "job": "x"}, [(NOW_MS, 1.0)])
    for path in (
        "rules", "alerts", "targets", "targets/metadata", "scrape_pools", "alertmanagers",
        "notifications", "status/flags", "status/config", "status/runtimeinfo", "status/walreplay",
    ):  # fmt: skip
        answer = await call(das, f"/api/v1/{path}")
        assert answer.json()["status"] == "success", path
    build = (await call(das, "/api/v1/status/buildinfo")).json()["data"]
    assert build["version"].count(".") == 2
    assert build["features"] == {"ruler_config_api": "true"}
    tsdb = (await call(das, "/api/v1/status/tsdb")).json()["data"]
    assert tsdb["headStats"]["numSeries"] == 1
    assert tsdb["seriesCountByMetricName"] == [{"name": "up", "value": 1}]
    cardinality = (await call(das, "/api/v1/cardinality")).json()["data"]
    assert (cardinality["series"], cardinality["head_samples"]) == (1, 1)
    assert cardinality["values_by_label"] == [
        {"name": "__name__", "count": 1},
        {"name": "job", "count": 1},
    ]
    assert (await call(das, "/api/v1/nothing")).status_code == 404
    assert (await call(das, "/api/v1/nothing")).json()["errorType"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("PUT", "query", 405, "GET, POST"),
        ("POST", "label/job/values", 405, "GET"),
        ("GET", "read", 405, "POST"),
        ("DELETE", "rules/backfills", 405, "GET, POST"),
        ("PUT", "nothing", 404, None),
        ("GET", "cardinality/label_names", 404, None),
    ],
)
async def test_a_method_that_a_path_has_not_is_405(das, method, path, status, allowed):
    """With those that it has: clients then repeat a POST as a GET. What is not there is 404."""
    for prefix in ("/api/v1", "/prometheus/api/v1"):
        answer = await das.request(method, f"{prefix}/{path}")
        assert (answer.status_code, answer.headers.get("allow")) == (status, allowed)
        assert answer.json()["status"] == "error"


async def test_metadata(das, ingest, tenant):
    """Type, help and unit by metric name, of this tenant."""
    for one, name in ((tenant, "up"), (tenant, "down"), (uuid.uuid4(), "theirs")):
        await ingest.connection.execute(
            "INSERT INTO metrics.metadata VALUES ($1, $2, 'gauge', 'A help.', '')", one, name
        )
    whole = (await call(das, "/api/v1/metadata")).json()["data"]
    assert whole == {n: [{"type": "gauge", "help": "A help.", "unit": ""}] for n in ("down", "up")}
    assert list((await call(das, "/api/v1/metadata", metric="up")).json()["data"]) == ["up"]
    assert list((await call(das, "/api/v1/metadata", limit="1")).json()["data"]) == ["down"]


async def test_values_are_strings_and_order_is_fixed(das, ingest, tenant):
    """NaN, +Inf, -Inf, shortest decimals, exponents as upstream; resultType before result."""
    shown = {
        "nan": (float("nan"), "NaN"),
        "inf": (float("inf"), "+Inf"),
        "neg": (float("-inf"), "-Inf"),
        "large": (1e21, "1e+21"),
        "larger": (1e20, "100000000000000000000"),
        "small": (2.5e-9, "2.5e-09"),
        "tenth": (0.1, "0.1"),
        "whole": (-3.0, "-3"),
    }
    for name, (value, _) in shown.items():
        await ingest.write(tenant, {"__name__": "x", "n": name}, [(NOW_MS, value)])
    answer = await call(das, "/api/v1/query", query="x", time=f"{T}.5")
    assert answer.text.startswith('{"status":"success","data":{"resultType":"vector","result":[')
    found = {one["metric"]["n"]: one["value"] for one in answer.json()["data"]["result"]}
    assert found == {name: [T + 0.5, text] for name, (_, text) in shown.items()}


async def test_a_tenant_reads_nothing_of_another(serve, hub, ingest, tenant):
    """On every route that shows data, another tenant's key shows an empty hub."""
    await ingest.write(tenant, {"__name__": "up", "job": "secret"}, [(NOW_MS, 1.0)])
    await ingest.compact(tenant)
    await ingest.write(tenant, {"__name__": "up", "job": "secret"}, [(NOW_MS + 1, 1.0)])
    client: httpx.AsyncClient = await serve()
    client.headers["X-API-Key"] = hub.key(uuid.uuid4())
    asked = {
        "query": {"query": "up"},
        "query_range": {"query": "up", "start": str(T), "end": str(T + 1), "step": "1"},
        "labels": {},
        "label/job/values": {},
        "series": {"match[]": '{job="secret"}'},
        "metadata": {},
        "status/tsdb": {},
        "export": {"match[]": "up"},
    }
    for path, params in asked.items():
        # A tenant named from outside is not heard.
        answer = await client.get(
            f"/api/v1/{path}",
            params={**params, "tenant": str(tenant)},
            headers={"X-Scope-OrgID": str(tenant), "X-Tenant": str(tenant)},
        )
        assert answer.status_code == 200, path
        assert "secret" not in answer.text, path


async def test_reading_needs_its_scope(serve, hub, tenant):
    """A key that may only write is refused, by name of the scope."""
    client = await serve()
    key = hub.key(tenant, scopes=("metrics:write",))
    answer = await client.get("/api/v1/query", params={"query": "1"}, headers={"X-API-Key": key})
    assert answer.status_code == 403
    assert "metrics:read" in answer.json()["error"]


async def test_a_plan_bounds_the_samples_of_a_query(serve, hub, ingest, tenant):
    """One sample more than the plan allows is 422, in the words people search for."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - n, 1.0) for n in range(100)])
    client = await serve()
    for allowed, status in ((1000, 200), (99, 422)):
        key = hub.key(tenant, query_samples=allowed)
        answer = await client.get(
            "/api/v1/query", params={"query": "up[1m]"}, headers={"X-API-Key": key}
        )
        assert answer.status_code == status
    assert "too many samples" in answer.json()["error"]


async def test_a_plan_bounds_the_queries_at_once(serve, hub, ingest, tenant):
    """A query that waits too long for its turn is 429 with Retry-After; the others are answered."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0)])
    client = await serve(queue_timeout_s=0.05)
    key = hub.key(tenant, query_concurrency=1)

    async with asyncio.TaskGroup() as group:
        # The tenant's state is locked, so that the first query holds its slot while others wait.
        state = client._transport.app.state.services.engine.store.catalogue
        await client.get("/api/v1/labels", headers={"X-API-Key": key})
        lock = state._tenants[tenant].lock
        await lock.acquire()
        tasks = [
            group.create_task(
                client.get("/api/v1/query", params={"query": "up"}, headers={"X-API-Key": key})
            )
            for _ in range(3)
        ]
        waiting = set(tasks)
        while len(waiting) > 1:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        lock.release()
    statuses = sorted(task.result().status_code for task in tasks)
    assert statuses == [200, 429, 429]
    refused = next(task.result() for task in tasks if task.result().status_code == 429)
    assert refused.headers["retry-after"] == "1"


async def test_a_timeout_only_lowers(serve, hub, ingest, tenant):
    """`timeout` ends a query early with 503; a longer one than the server's is not heard."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0)])
    client = await serve()
    client.headers["X-API-Key"] = hub.key(tenant)
    await client.get("/api/v1/labels")
    engine = client._transport.app.state.services.engine
    limits, engine.limits = engine.limits, replace(engine.limits, timeout_s=0.2)
    async with engine.store.catalogue._tenants[tenant].lock:
        for timeout in ("10ms", "1h"):
            answer = await call(client, "/api/v1/query", query="up", timeout=timeout)
            assert answer.status_code == 503
            assert answer.json()["errorType"] == "timeout"
    engine.limits = limits
    assert (await call(client, "/api/v1/query", query="up", timeout="1h")).status_code == 200


async def test_format_query(das):
    """The query in Prometheus's own form."""
    answer = await call(das, "/api/v1/format_query", query="sum(rate(x[5m]))by(job)")
    assert answer.json()["data"] == "sum by (job) (rate(x[5m]))"


async def test_export_gives_raw_samples(filled):
    """NDJSON, CSV and Arrow hold the same samples: start ≤ time ≤ end, every one."""
    span = {"start": str(T - 30), "end": str(T), "match[]": 'requests_total{host="a",job="api"}'}
    lines = (await call(filled, "/api/v1/export", **span)).text.splitlines()
    times = f"[{NOW_MS - 30_000},{NOW_MS - 15_000},{NOW_MS}]"
    metric = '{"__name__":"requests_total","host":"a","job":"api"}'
    assert lines == [f'{{"metric":{metric},"values":[1140,1170,1200],"timestamps":{times}}}']
    csv = (await call(filled, "/api/v1/export", format="csv", **span)).text.splitlines()
    assert len(csv) == 4
    assert csv[-1].endswith(f",{NOW_MS},1200")
    arrow = await call(filled, "/api/v1/export", format="arrow", **span)
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table["value"].to_pylist() == [[1140.0, 1170.0, 1200.0]]
    assert dict(table["metric"].to_pylist()[0])["job"] == "api"


async def test_an_export_tells_what_json_has_no_numbers_for(das, ingest, tenant):
    """A stale marker is null, and NaN and the infinities are texts: an import has every bit."""
    stale = float(np.uint64(STALE_BITS).view(np.float64))
    values = [1.0, stale, math.nan, math.inf, -math.inf]
    samples = [(NOW_MS - 4 + i, value) for i, value in enumerate(values)]
    await ingest.write(tenant, {"__name__": "up"}, samples)
    told = (await call(das, "/api/v1/export", **{"match[]": "up"})).json()
    assert told["values"] == [1, None, "NaN", "Infinity", "-Infinity"]


async def test_a_form_has_a_size(das):
    """A form beyond 1 MiB is 413, and is not read to its end."""
    answer = await das.post("/api/v1/query", data={"query": "1" * 2_000_000})
    assert answer.status_code == 413


async def test_an_export_holds_its_slot_until_its_last_byte(serve, hub, ingest, tenant):
    """Samples stay in memory until a slow client has read them, so they count as a running query;
    a client that leaves in the middle gives the slot back.
    """
    client = await serve(queue_timeout_s=0.2)
    client.headers["X-API-Key"] = key = hub.key(tenant, query_concurrency=1)
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0)])
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/api/v1/export", "raw_path": b"/api/v1/export",
        "query_string": b"match[]=up", "root_path": "", "server": ("das", 80), "state": {},
        "client": ("127.0.0.1", 1), "headers": [(b"x-api-key", key.encode())],
    }  # fmt: skip
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def receive():
        await asyncio.Event().wait()

    async def slow_send(message):
        if message["type"] == "http.response.body" and message["body"]:
            begun.set()
            await goes_on.wait()

    for leaves in (False, True):
        begun.clear()
        goes_on.clear()
        reading = asyncio.create_task(client._transport.app(dict(scope), receive, slow_send))
        async with asyncio.timeout(600):
            await begun.wait()
            assert (await call(client, "/api/v1/query", query="up")).status_code == 429
            if leaves:
                reading.cancel()
                await asyncio.wait([reading])
            else:
                goes_on.set()
                await reading
        assert (await call(client, "/api/v1/query", query="up")).status_code == 200


async def test_an_export_that_is_too_large_is_refused_before_its_first_byte(
    serve, hub, ingest, tenant
):
    """The status still says so: nothing has been sent when the limit is met."""
    client = await serve()
    client.headers["X-API-Key"] = hub.key(tenant, query_samples=1)
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS, 1.0), (NOW_MS + 1, 1.0)])
    answer = await call(client, "/api/v1/export", **{"match[]": "up"})
    assert (answer.status_code, answer.json()["errorType"]) == (422, "execution")


async def test_bit_rot_is_told_and_never_answered(filled, objects):
    """With a flipped bit in the only block, queries answer what the head has and warn, naming the
    block; what cannot be partial is an error.
    """
    (path,) = objects.rglob("*.parquet")
    whole = path.read_bytes()
    name = path.relative_to(objects).as_posix()
    asked = {"query": "requests_total", "start": str(T - 600), "end": str(T), "step": "15"}
    for at in (len(whole) - 100, 200):  # in this order: a footer once read well is kept
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        answer = await call(filled, "/api/v1/query_range", **asked)
        assert answer.status_code == 200
        (warning,) = answer.json()["warnings"]
        assert name in warning
        for series in answer.json()["data"]["result"]:
            assert [value for _, value in series["values"]] == [str(30 * n) for n in range(20, 41)]
        instant = {"query": "count(requests_total)", "time": str(T - 500)}
        assert (await call(filled, "/api/v1/query", **instant)).json()["warnings"] == [warning]
        span = {"match[]": "requests_total", "start": str(T - 600), "end": str(T - 500)}
        for route in ("series", "export"):
            refused = await call(filled, f"/api/v1/{route}", **span)
            assert refused.status_code == 500
            assert name in refused.json()["error"]
    path.write_bytes(whole)
    answer = (await call(filled, "/api/v1/query_range", **asked)).json()
    assert "warnings" not in answer
    assert len(answer["data"]["result"][0]["values"]) == 41
