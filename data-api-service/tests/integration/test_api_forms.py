"""The rest of the Prometheus API: forms, stats, order, federation, trees, targets, blocks."""

import uuid

import httpx  # noqa: TC002 - fixtures say what they are
import numpy as np
import pytest
from conftest import NOW_MS
from histograms import Written

from data_api.model import STALE_BITS

T = NOW_MS // 1000


async def data_of(das, path, **params):
    answer = await das.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture
async def equals(das, ingest, tenant):
    """Six series of one value, stored in no order, three of them in a block."""
    for host in ("d", "b", "f"):
        await ingest.write(tenant, {"__name__": "up", "host": host}, [(NOW_MS, 1.0)])
    await ingest.compact(tenant)
    for host in ("a", "e", "c"):
        await ingest.write(tenant, {"__name__": "up", "host": host}, [(NOW_MS, 1.0)])
    return das


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("up", "abcdef"),
        ("up[5m]", "abcdef"),
        ("topk(2, up)", "ab"),
        ("bottomk(2, up)", "ab"),
        ("limitk(3, up)", "abc"),
        ("sort_desc(up)", "abcdef"),
        ("sum by (host) (up)", "abcdef"),
        (
            "sort_desc(up * on (host) group_left label_replace(up, 'x', '$1', 'host', '(.)'))",
            "abcdef",
        ),
    ],
)
async def test_equal_values_come_by_labels(equals, query, hosts):
    """Which of equals is chosen, and what comes first, does not depend on where it is stored."""
    result = (await data_of(equals, "query", query=query, time=T))["result"]
    assert [one["metric"]["host"] for one in result] == list(hosts)


async def test_values_come_before_labels_where_the_query_orders(das, ingest, tenant):
    """topk, bottomk and sort keep their own order."""
    for host, value in (("a", 1.0), ("b", 3.0), ("c", 2.0)):
        await ingest.write(tenant, {"__name__": "up", "host": host}, [(NOW_MS, value)])
    for query, hosts in (("topk(3, up)", "bca"), ("(sort(up))", "acb"), ("bottomk(2, up)", "ac")):
        result = (await data_of(das, "query", query=query, time=T))["result"]
        assert "".join(one["metric"]["host"] for one in result) == hosts, query


async def test_series_come_by_labels(equals):
    """Also those that `limit` keeps."""
    for limit, hosts in (("0", "abcdef"), ("2", "ab")):
        found = await data_of(equals, "series", **{"match[]": "up"}, limit=limit)
        assert "".join(one["host"] for one in found) == hosts


async def test_stats_say_what_a_query_looked_at(das, ingest, tenant):
    """Samples as Prometheus counts them: one a series and step, all of a window; with `all` by
    step. Without `stats` there are none.
    """
    for host in "ab":
        samples = [(NOW_MS - n * 15_000, 1.0) for n in range(41)][::-1]
        await ingest.write(tenant, {"__name__": "up", "host": host}, samples)
    for query, total in (
        ("up", 2),
        ("sum(rate(up[5m]))", 40),
        ("up[5m]", 40),
        ("max_over_time(up[5m:1m])", 10),
        ("up + sum_over_time(up[1m])", 10),
        ("1 + 1", 0),
    ):
        data = await data_of(das, "query", query=query, time=T, stats="true")
        samples = data["stats"]["samples"]
        assert samples["totalQueryableSamples"] == total, query
        assert "totalQueryableSamplesPerStep" not in samples
        timings = data["stats"]["timings"]
        assert 0 <= timings["innerEvalTime"] <= timings["evalTotalTime"] <= timings["execTotalTime"]
    span = {"start": T - 60, "end": T, "step": 30, "stats": "all"}
    data = await data_of(das, "query_range", query="up @ end()", **span)
    steps = [[T - 60, 2], [T - 30, 2], [T, 2]]
    assert data["stats"]["samples"]["totalQueryableSamplesPerStep"] == steps
    assert data["stats"]["samples"]["peakSamples"] >= 6
    assert "stats" not in await data_of(das, "query", query="up", time=T)


async def test_the_lookback_is_the_callers(das, ingest, tenant):
    """`lookback_delta` moves how old a sample may be; 0 is the server's own."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - 400_000, 1.0)])
    for lookback, there in (("10m", 1), ("400.001", 1), ("400", 0), ("0", 0), ("", 0)):
        data = await data_of(das, "query", query="up", time=T, lookback_delta=lookback)
        assert len(data["result"]) == there, lookback


async def test_a_multipart_form_is_a_form(das):
    """As `curl -F` sends it, up to 64 KiB; what is no such form is refused."""
    form = {"query": (None, 'vector(1)\r\n+ 1 == 2 or absent(x{a="é"})'), "time": (None, "4")}
    answer = await das.post("/api/v1/query", files=form)
    metrics = [one["metric"] for one in answer.json()["data"]["result"]]
    assert metrics == [{}, {"a": "é"}]
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"query=1", b"--x\r\n\r\n1\r\n--x--", b"--x\r\n" * 2000):
        refused = await das.post("/api/v1/query", content=body, headers=kind)
        assert refused.status_code == 400, body
        assert refused.json()["errorType"] == "bad_data"
    large = b"--x\r\n" + b"\n" * 65_536
    refused = await das.post("/api/v1/query", content=large, headers=kind)
    assert refused.status_code == 413


async def test_a_preflight_is_harmless(serve):
    """OPTIONS needs no credential, changes nothing and opens the API to no other origin."""
    client: httpx.AsyncClient = await serve()
    for path in ("/api/v1/query", "/prometheus/api/v1/anything"):
        answer = await client.options(path, headers={"Origin": "http://elsewhere"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("base", ["", "/prometheus"])
async def test_federation_shows_the_newest_samples(das, ingest, tenant, base):
    """One line a series by name and labels, each once; stale and old ones and histograms are left
    out; texts are escaped, `instance` is always there.
    """
    stale = float(np.uint64(STALE_BITS).view(np.float64))
    for labels, samples in (
        ({"__name__": "up", "job": "b"}, [(NOW_MS - 9, 1.0), (NOW_MS - 5, 0.25)]),
        ({"__name__": "up", "job": "a", "instance": "x"}, [(NOW_MS, float("inf"))]),
        ({"__name__": "up", "job": "gone"}, [(NOW_MS - 9, 1.0), (NOW_MS - 5, stale)]),
        ({"__name__": "up", "job": "old"}, [(NOW_MS - 300_000, 1.0)]),
        ({"__name__": "native"}, [(NOW_MS, Written(positive=((1, 3),), total=5.0).encoded())]),
        ({"__name__": "a.b", "c.d": 'x"\\\n'}, [(NOW_MS, 2.0)]),
    ):
        await ingest.write(tenant, labels, samples)
    asked = {"match[]": ['{job=~".+"}', "up", '{"a.b"}', "native"]}
    answer = await das.get(f"{base}/federate", params=asked)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    up = [
        "# TYPE up untyped",
        f'up{{instance="",job="b"}} 0.25 {NOW_MS - 5}',
        f'up{{instance="x",job="a"}} +Inf {NOW_MS}',
    ]
    text = r'="x\"\\\n",instance=""} 2 ' + str(NOW_MS)
    assert sorted(answer.text.splitlines()) == sorted(["# TYPE a_b untyped", "a_b{c_d" + text, *up])
    accept = {"Accept": "text/plain;version=1.0.0;escaping=allow-utf-8"}
    answer = await das.get(f"{base}/federate", params=asked, headers=accept)
    assert "escaping=allow-utf-8" in answer.headers["content-type"]
    quoted = ['# TYPE "a.b" untyped', '{"a.b","c.d"' + text]
    assert answer.text.splitlines()[:2] == quoted
    assert (await das.get(f"{base}/federate")).text == ""


async def test_a_querys_tree(das):
    """The keys and values of Prometheus's page, whole."""
    query = (
        'sum by (a) (rate({b=~"c"}[5m] offset 1m)) / on (a) group_left (d) (-x @ end()) > bool 2'
    )
    tree = await data_of(das, "parse_query", query=query)
    selector = {"name": "", "matchers": [{"name": "b", "value": "c", "type": "=~"}]}
    rate = {
        "type": "call",
        "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
        "args": [
            {"type": "matrixSelector", "range": 300_000, "offset": 60_000, "timestamp": None}
            | {"startOrEnd": None}
            | selector
        ],
    }
    name = [{"name": "__name__", "value": "x", "type": "="}]
    x = {"type": "vectorSelector", "name": "x", "matchers": name, "offset": 0, "timestamp": None}
    by = {"op": "sum", "grouping": ["a"], "without": False, "param": None}
    on = {"card": "many-to-one", "labels": ["a"], "on": True, "include": ["d"]}
    negative = {"type": "unaryExpr", "op": "-", "expr": x | {"startOrEnd": "end"}}
    division = {"type": "binaryExpr", "op": "/", "bool": False, "matching": on} | {
        "lhs": {"type": "aggregation", "expr": rate} | by,
        "rhs": {"type": "parenExpr", "expr": negative},
    }
    assert tree == {
        "type": "binaryExpr",
        "op": ">",
        "bool": True,
        "matching": None,
        "lhs": division,
        "rhs": {"type": "numberLiteral", "val": "2"},
    }
    subquery = await data_of(das, "parse_query", query="max_over_time(x[1h:])")
    facts = {"range": 3_600_000, "step": 0, "offset": 0, "timestamp": None, "startOrEnd": None}
    assert subquery["args"][0] == {"type": "subquery", "expr": x | {"startOrEnd": None}} | facts


async def test_a_long_chain_has_a_tree(das):
    """Thousands of operators are as many levels of JSON, and no stack ends before them."""
    answer = await das.get("/api/v1/parse_query", params={"query": "+".join(["1"] * 3000)})
    assert answer.status_code == 200
    assert answer.text.count('"binaryExpr"') == 2999


async def test_metadata_has_limits(das, ingest, tenant):
    """A limit keeps the first by name, below zero all, 0 none; what is no number is refused."""
    for name in ("b", "a", "c"):
        await ingest.connection.execute(
            "INSERT INTO metrics.metadata VALUES ($1, $2, 'gauge', '', '')", tenant, name
        )
    for limit, names in (("2", "ab"), ("-1", "abc"), ("0", ""), ("", "abc")):
        assert "".join(await data_of(das, "metadata", limit=limit, limit_per_metric="1")) == names
    for name in ("limit", "limit_per_metric"):
        answer = await das.get("/api/v1/metadata", params={name: "x"})
        assert (answer.status_code, answer.json()["error"]) == (400, f"{name} must be a number")


async def test_scrape_targets_are_those_of_data_ingest_service(serve, hub, tenant):
    """It is asked as the tenant, with a token for it; without its URL nothing is scraped. What it
    does not answer is 503 `unavailable`.
    """
    hub.targets = {
        "activeTargets": [{"scrapePool": "hub"}, {"scrapePool": "a"}],
        "droppedTargets": [{"scrapePool": "hub"}],
        "droppedTargetCounts": {"hub": 1},
    }
    alone: httpx.AsyncClient = await serve()
    das: httpx.AsyncClient = await serve(dis_url="http://dis/")
    for client in (alone, das):
        client.headers["X-API-Key"] = hub.key(tenant)
    assert (await data_of(alone, "targets"))["activeTargets"] == []
    assert await data_of(das, "targets", state="active", scrapePool="hub") == hub.targets
    assert hub.asked == [(f"token of {tenant}", {"state": "active", "scrapePool": "hub"})]
    assert await data_of(das, "scrape_pools") == {"scrapePools": ["a", "hub"]}
    assert await data_of(das, "targets/metadata") == []
    hub.targets = None
    answer = await das.get("/api/v1/targets")
    assert (answer.status_code, answer.json()["errorType"]) == (503, "unavailable")


async def test_status_covers_blocks(equals, tenant, ingest):
    """Head and blocks count, and the blocks are listed without rollups."""
    old = NOW_MS - 7_200_000
    await ingest.write(tenant, {"__name__": "up", "host": "z"}, [(old, 1.0)])
    await ingest.compact(tenant)
    stats = (await data_of(equals, "status/tsdb"))["headStats"]
    assert (stats["numSeries"], stats["minTime"], stats["maxTime"]) == (7, old, NOW_MS)
    blocks = (await data_of(equals, "status/tsdb/blocks"))["blocks"]
    assert len(blocks) == stats["chunkCount"] > 0
    assert min(one["minTime"] for one in blocks) == old
    assert max(one["maxTime"] for one in blocks) == NOW_MS + 1
    assert len((await data_of(equals, "status/tsdb/blocks", limit="1"))["blocks"]) == 1
    refused = await equals.get("/api/v1/status/tsdb", params={"limit": "0"})
    assert refused.json()["error"] == "limit must be a positive number"


async def test_nothing_new_shows_another_tenants_data(serve, hub, ingest, tenant):
    """On every route of this file, another tenant's key shows an empty hub."""
    await ingest.write(tenant, {"__name__": "secret"}, [(NOW_MS, 1.0)])
    await ingest.compact(tenant)
    client: httpx.AsyncClient = await serve()
    client.headers["X-API-Key"] = hub.key(uuid.uuid4())
    span = {"query": "secret", "start": T - 60, "end": T, "step": 30}
    for path, params in (
        ("/federate", {"match[]": "secret"}),
        ("/api/v1/status/tsdb/blocks", {}),
        ("/api/v1/query_range_arrow", span),
        ("/api/v1/query_range_buckets", span),
    ):
        answer = await client.get(path, params=params)
        assert answer.status_code == 200
        assert b"secret" not in answer.content
        assert b"numSamples" not in answer.content
        without = await client.get(path, params=params, headers={"X-API-Key": ""})
        assert without.status_code == 401, path


async def test_features_name_every_function(das):
    """Those that are computed are true."""
    functions = (await data_of(das, "features"))["promql_functions"]
    assert functions["rate"]
    assert not functions["start_timestamp"]
