"""Through the public door: native histograms with their exemplars, and history out and in again."""

import json
import time

import httpx
import pytest
from native_platform import eventually


@pytest.fixture
def door(platform):
    """Requests with the platform's key."""
    key = {"Authorization": f"Bearer {platform.key}"}
    with httpx.Client(base_url=f"{platform.url}/api", headers=key, timeout=600) as client:
        yield client


def test_a_histogram_is_computed_with_and_shows_its_exemplar(platform, door):
    """An exponential histogram of OTLP: its median, and the trace that an exemplar names."""
    at_ns = time.time_ns()
    point = {
        "timeUnixNano": str(at_ns), "count": "10", "sum": 9.0, "scale": 0, "zeroCount": "0",
        "positive": {"offset": -1, "bucketCounts": ["5", "5"]},
        "exemplars": [{"timeUnixNano": str(at_ns), "asDouble": 0.7, "traceId": "5b" * 16}],
    }  # fmt: skip
    metric = {
        "name": "e2e_latency",
        "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [point]},
    }
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    answer = door.post("/data-ingest-service/v1/metrics", json=body)
    assert (answer.status_code, answer.json()) == (200, {})
    now_s = at_ns / 1e9 + 1
    (median,) = platform.query("histogram_quantile(0.5, e2e_latency)", at_s=now_s)
    assert float(median["value"][1]) == 1.0
    (stored,) = platform.query("e2e_latency", at_s=now_s)
    assert stored["histogram"][1]["count"] == "10"
    asked = {"query": "rate(e2e_latency[5m])", "start": now_s - 60, "end": now_s}
    (of_series,) = door.get("/data-api-service/api/v1/query_exemplars", params=asked).json()["data"]
    assert of_series["exemplars"][0]["labels"]["trace_id"] == "5b" * 16


def test_what_was_exported_is_imported(platform, door):
    """Under another label, from an upload that the door passes on as it comes."""
    lines = "".join(f'e2e_old{{n="{n}"}} {n}.5\n' for n in range(50))
    pushed = door.post("/data-ingest-service/api/v1/import/prometheus", content=lines)
    assert pushed.status_code == 204, pushed.text
    exported = door.get("/data-api-service/api/v1/export", params={"match[]": "e2e_old"})
    assert len(exported.text.splitlines()) == 50
    started = door.post(
        "/data-ingest-service/api/v1/imports",
        params={"format": "ndjson", "extra_label": "copy=yes"},
        content=exported.content,
    )
    assert started.status_code == 202, started.text
    path = f"/data-ingest-service/api/v1/imports/{started.json()['data']['id']}"

    def finished():
        one = door.get(path).json()["data"]
        return one if one["finished_at"] else None

    ended = eventually("the import has ended", finished)
    assert (ended["state"], ended["accepted"], ended["refused"]) == ("succeeded", 50, {}), (
        json.dumps(ended)
    )
    (copied,) = platform.query('sum(e2e_old{copy="yes"})', at_s=time.time() + 1)
    assert float(copied["value"][1]) == sum(range(50)) + 25
