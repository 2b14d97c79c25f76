"""Native histograms and exemplars, from what data-ingest-service stores to what is answered."""

import json
import uuid

import pyarrow as pa
import pytest
from conftest import NOW_MS
from histograms import CUSTOM, Written

T = NOW_MS // 1000
MINUTE = 60_000
NAME = {"__name__": "latency_seconds"}
READ = pytest.mark.parametrize("compacted", [0, 5, 11], ids=["head", "both", "block"])


def grown(n, **more):
    """The n-th scrape of a counter whose bucket (1, 2] gets two a minute and (0.5, 1] one."""
    return Written(positive=((0, n), (1, 2 * n)), total=4.0 * n, **more)


async def fill(ingest, tenant, points, compacted):
    """The points, of which the first `compacted` are in a block."""
    if compacted:
        await ingest.write(tenant, NAME, points[:compacted])
        await ingest.compact(tenant)
    if points[compacted:]:
        await ingest.write(tenant, NAME, points[compacted:])


@pytest.fixture
def points():
    return [(NOW_MS - (10 - n) * MINUTE, grown(n + 1).encoded()) for n in range(11)]


async def result(das, query, path="query", **params):
    answer = await das.get(f"/api/v1/{path}", params={"query": query, "time": T, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["result"]


@READ
async def test_a_stored_histogram_is_answered_as_prometheus_renders_it(
    das, ingest, tenant, points, compacted
):
    """`histogram` stands where a float's `value` would; empty buckets are left out."""
    await fill(ingest, tenant, points, compacted)
    wanted = {
        "count": "33",
        "sum": "44",
        "buckets": [[0, "0.5", "1", "11"], [0, "1", "2", "22"]],
    }
    assert await result(das, "latency_seconds") == [{"metric": NAME, "histogram": [T, wanted]}]
    (series,) = await result(das, "latency_seconds", "query_range", start=T - 60, end=T, step=60)
    assert "values" not in series
    assert [at for at, _ in series["histograms"]] == [T - 60, T]
    assert series["histograms"][1][1] == wanted


@READ
async def test_rates_and_quantiles_of_stored_histograms(das, ingest, tenant, points, compacted):
    """Three observations a minute, two of them in (1, 2], whatever mix of head and block."""
    await fill(ingest, tenant, points, compacted)
    (rate,) = await result(das, "rate(latency_seconds[5m])")
    assert float(rate["histogram"][1]["count"]) == pytest.approx(3 / 60)
    (quantile,) = await result(das, "histogram_quantile(0.75, sum(rate(latency_seconds[5m])))")
    assert float(quantile["value"][1]) == pytest.approx(2 ** (1 - 0.25 / (2 / 3)))
    (count,) = await result(das, "histogram_count(increase(latency_seconds[5m]))")
    assert float(count["value"][1]) == pytest.approx(15)


async def test_a_series_may_change_its_kind(das, ingest, tenant):
    """Floats and histograms of one series are two lists; of one time the last one written wins."""
    points = [
        (NOW_MS - 3 * MINUTE, 1.5),
        (NOW_MS - 2 * MINUTE, 2.5),
        (NOW_MS - 2 * MINUTE, grown(1).encoded()),
        (NOW_MS - MINUTE, grown(2).encoded()),
        (NOW_MS - MINUTE, 3.5),
    ]
    await fill(ingest, tenant, points, 0)
    for _ in range(2):
        (series,) = await result(das, "latency_seconds[5m]")
        assert series["values"] == [[T - 180, "1.5"], [T - 60, "3.5"]]
        assert [(at, one["count"]) for at, one in series["histograms"]] == [(T - 120, "3")]
        await ingest.compact(tenant)


async def test_no_function_of_floats_takes_a_histogram_for_a_number(das, ingest, tenant):
    """Where a float function meets histograms alone there is no sample; Prometheus's note says so
    where both kinds meet.
    """
    await fill(ingest, tenant, [(NOW_MS, grown(1).encoded())], 0)
    for query in ("abs({0})", "{0} + 1", "{0} > 0", "max({0})", "max_over_time({0}[5m])",
                  "sort({0})", "round({0})", "clamp_min({0}, 1)", "topk(1, {0})",
                  "stddev({0})", "deriv({0}[5m])", "quantile(0.5, {0})", "hour({0})",
                  "{0} % {0}", "predict_linear({0}[5m], 1)"):  # fmt: skip
        assert await result(das, query.format("latency_seconds")) == [], query
    assert await result(das, "scalar(latency_seconds)") == [T, "NaN"]
    text = "latency_seconds + 1"
    answer = (await das.get("/api/v1/query", params={"query": text, "time": T})).json()
    (info,) = answer["infos"]
    assert info.endswith('encountered for binary operator "+": histogram + float (1:1)')


async def test_custom_bounds_gauges_and_float_counts_are_read(das, ingest, tenant):
    """The lowest bucket with custom bounds has both its bounds; what has hint gauge is one."""
    written = Written(CUSTOM, ((0, 1), (2, 4)), bounds=(0.5, 2.0), total=9.0, is_float=True, hint=3)
    both_sides = Written(
        3, ((-8, 5),), ((4, 2), (8, 1)), zero=7, zero_threshold=0.25, total=-1.0, hint=3
    )
    points = [(NOW_MS - MINUTE, written.encoded()), (NOW_MS, both_sides.encoded())]
    await fill(ingest, tenant, points, 0)
    (series,) = await result(das, "latency_seconds[5m]")
    (_, custom), (_, exponential) = series["histograms"]
    assert custom["buckets"] == [[3, "-Inf", "0.5", "1"], [0, "2", "+Inf", "4"]]
    assert [bucket[0] for bucket in exponential["buckets"]] == [1, 1, 3, 0]
    assert exponential["buckets"][2] == [3, "-0.25", "0.25", "7"]
    assert exponential["buckets"][0][1:] == ["-2", "-1.8340080864093422", "1"]


async def test_exports_say_what_a_histogram_is(das, ingest, tenant):
    """NDJSON has the object of the query API, CSV its text, Arrow null."""
    await fill(ingest, tenant, [(NOW_MS - 1000, 1.5), (NOW_MS, grown(1).encoded())], 0)

    async def exported(kind):
        params = {"match[]": "latency_seconds", "format": kind}
        return (await das.get("/api/v1/export", params=params)).content

    (line,) = (await exported("json")).splitlines()
    histogram = {"count": "3", "sum": "4", "buckets": [[0, "0.5", "1", "1"], [0, "1", "2", "2"]]}
    assert json.loads(line)["values"] == [1.5, histogram]
    last = (await exported("csv")).decode().splitlines()[-1]
    assert last.endswith(f',{NOW_MS},"{{count:3, sum:4, (0.5,1]:1, (1,2]:2}}"')
    table = pa.ipc.open_stream(await exported("arrow")).read_all()
    assert table["value"].to_pylist() == [[1.5, None]]


async def test_exemplars_of_the_series_that_a_query_selects(das, ingest, tenant):
    """Each selector of the query counts; a series' exemplars stand in order of time."""
    await ingest.write(tenant, {"__name__": "other"}, [(NOW_MS, 1.0)])
    series_id = await ingest.write(tenant, NAME, [(NOW_MS, 1.0)])
    for ago_s, value in ((10, 0.25), (70, float("inf")), (4000, 1.0)):
        await ingest.exemplar(tenant, series_id, NOW_MS - ago_s * 1000, value, trace_id=f"t{ago_s}")

    async def exemplars_of(query, method="GET"):
        params = {"query": query, "start": str(T - 3600), "end": str(T)}
        where = {"params": params} if method == "GET" else {"data": params}
        answer = await das.request(method, "/api/v1/query_exemplars", **where)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    exemplars = [
        {"labels": {"trace_id": "t70"}, "value": "+Inf", "timestamp": T - 70},
        {"labels": {"trace_id": "t10"}, "value": "0.25", "timestamp": T - 10},
    ]
    wanted = [{"seriesLabels": NAME, "exemplars": exemplars}]
    query = "histogram_quantile(0.9, rate(latency_seconds[5m])) > other"
    assert await exemplars_of(query) == await exemplars_of(query, "POST") == wanted
    assert await exemplars_of("other") == await exemplars_of("1 + 1") == []


async def test_exemplars_are_of_the_caller_and_not_past_retention(das, ingest, hub, tenant):
    """Another tenant sees none; neither does anyone see what the plan no longer keeps."""
    series_id = await ingest.write(tenant, NAME, [(NOW_MS, 1.0)])
    await ingest.exemplar(tenant, series_id, NOW_MS - 2 * 86_400_000, 1.0, trace_id="old")
    counts = []
    for key in (hub.key(tenant), hub.key(tenant, retention_days=1), hub.key(uuid.uuid4())):
        das.headers["X-API-Key"] = key
        answer = await das.get("/api/v1/query_exemplars", params={"query": "latency_seconds"})
        counts.append(len(answer.json()["data"]))
    assert counts == [1, 0, 0]
