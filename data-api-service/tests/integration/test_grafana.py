"""What Grafana's Prometheus data source asks, in its order and with its quirks: no error anywhere.

Source: Grafana `packages/grafana-prometheus` and `pkg/promlib` 12.x.
"""

import pytest
from conftest import NOW_MS

T = NOW_MS // 1000
SPAN = {"start": str(T - 3600), "end": str(T)}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LIMIT = {"limit": "40000"}

SAVE_AND_TEST = [
    ("POST", "query", {"query": "1+1", "time": "4", "timeout": "30s"}),
    ("GET", "status/buildinfo", {}),
    ("GET", "rules", {}),
    ("POST", "query_exemplars", {"query": "test", "start": str(NOW_MS), "end": str(NOW_MS + 1800)}),
]
EXPLORE = [
    ("GET", "label/__name__/values", {**SPAN, **LIMIT}),
    ("GET", "metadata", {**LIMIT}),
    ("GET", "rules", {}),
    ("POST", "labels", {**SPAN, **LIMIT}),
    ("POST", "labels", {**SPAN, **LIMIT, "match[]": '{__name__="requests_total"}'}),
    ("GET", "label/job/values", {**SPAN, **LIMIT, "match[]": 'requests_total{host="a"}'}),
    ("GET", "label/U__http_2e_code/values", {**SPAN, **LIMIT}),
    ("POST", "series", {**SPAN, **LIMIT, "match[]": "requests_total"}),
    ("POST", "query", {"query": "requests_total", "time": f"{T}.123", "timeout": "30s"}),
    ("POST", "query_range", {"query": "rate(requests_total[1m0s])", **SPAN, "step": "15"}),
    ("POST", "query_exemplars", {"query": "requests_total", **SPAN}),
    ("POST", "format_query", {"query": "sum(rate(x[5m]))by(job)"}),
    ("GET", "parse_query", {"query": "sum(rate(x[5m]))by(job)"}),
]
DASHBOARD = [
    ("POST", "series", {**SPAN, "match[]": "requests_total"}),
    ("GET", "label/host/values", {**SPAN, "match[]": "requests_total"}),
    ("POST", "query", {"query": "count(requests_total)", "time": str(T)}),
    *(
        ("POST", "query_range", {"query": query, **SPAN, "step": step, "timeout": "60s"})
        for query in (
            'sum by (job) (rate(requests_total{host=~"a|b"}[1m]))',
            "histogram_quantile(0.95, sum by (le) (rate(latency_bucket[5m])))",
            "topk(5, requests_total)",
            "nothing_of_this_name",
        )
        for step in ("15", "0.5", "60")
    ),
    ("POST", "query_range", {"query": "changes(requests_total[60s]) > 0", **SPAN, "step": "60"}),
    ("GET", "alerts", {}),
    ("GET", "rules", {"type": "alert", "exclude_alerts": "true", "group_limit": "40"}),
]
PAGES = [
    ("GET", f"status/{name}", {})
    for name in ("config", "flags", "runtimeinfo", "tsdb", "walreplay", "tsdb/blocks")
] + [("GET", name, {}) for name in ("targets", "targets/metadata", "alertmanagers", "features")]


@pytest.fixture
async def filled(das, ingest, tenant):
    """A counter of two hosts with an exemplar, a classic histogram and metadata."""
    for host in ("a", "b"):
        labels = {"__name__": "requests_total", "job": "api", "host": host, "http.code": "200"}
        samples = [(NOW_MS - n * 15_000, 1000.0 - n) for n in range(240)][::-1]
        await ingest.write(tenant, labels, samples)
        await ingest.compact(tenant)
    for le, count in (("0.1", 1.0), ("1.0", 2.0), ("+Inf", 3.0)):
        labels = {"__name__": "latency_bucket", "le": le}
        await ingest.write(tenant, labels, [(NOW_MS - n * 15_000, count) for n in range(9, -1, -1)])
    await ingest.connection.execute(
        "INSERT INTO metrics.metadata VALUES ($1, 'requests_total', 'counter', 'All.', '')", tenant
    )
    return das


@pytest.mark.parametrize("base", ["/api/v1", "/prometheus/api/v1"])
@pytest.mark.parametrize("method", ["POST", "GET"], ids=["preset POST", "set to GET"])
@pytest.mark.parametrize(
    "calls",
    [SAVE_AND_TEST, EXPLORE, DASHBOARD, PAGES],
    ids=["save and test", "explore", "dashboard", "pages"],
)
async def test_grafana_meets_no_error(filled, base, method, calls):
    """Each call is 200 and `success`, its data of the kind that Grafana reads."""
    for preset, path, params in calls:
        if preset == method == "POST":
            answer = await filled.post(f"{base}/{path}", data=params, headers=FORM)
        else:
            answer = await filled.get(f"{base}/{path}", params=params)
        assert answer.status_code == 200, (path, params, answer.text)
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert (body["status"], "data" in body) == ("success", True), path
        if path in {"query", "query_range"}:
            assert list(body["data"]) == ["resultType", "result"]


async def test_grafana_finds_what_it_completes(filled):
    """The editor's lists are sorted and hold what is stored; buildinfo names a ruler."""
    names = (await filled.get("/api/v1/label/__name__/values", params=SPAN)).json()["data"]
    assert names == ["latency_bucket", "requests_total"]
    code = await filled.get("/api/v1/label/U__http_2e_code/values", params=SPAN)
    assert code.json()["data"] == ["200"]
    metadata = (await filled.get("/api/v1/metadata")).json()["data"]
    assert metadata["requests_total"] == [{"type": "counter", "help": "All.", "unit": ""}]
    build = (await filled.get("/api/v1/status/buildinfo")).json()["data"]
    assert build["features"] == {"ruler_config_api": "true"}


async def test_a_panels_error_is_bad_data_in_both_methods(filled):
    """A POST that is answered 400 is repeated as a GET: the same words again."""
    params = {"query": "sum(", **SPAN, "step": "15"}
    post = await filled.post("/api/v1/query_range", data=params, headers=FORM)
    get = await filled.get("/api/v1/query_range", params=params)
    assert (post.status_code, post.json()) == (get.status_code, get.json())
    assert post.json()["errorType"] == "bad_data"
    assert "parse error" in post.json()["error"]
