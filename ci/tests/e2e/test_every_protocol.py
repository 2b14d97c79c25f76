"""Every protocol through the public door: what is stored is read back, what is refused is told."""

import base64
import json
import time

import httpx
import pytest
import remote_write

HOUR_MS = 3_600_000


def otlp(name, times_ms):
    points = [{"timeUnixNano": str(at * 1_000_000), "asDouble": 7.5} for at in times_ms]
    metrics = [{"name": name, "gauge": {"dataPoints": points}}]
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode()


def firehose(name, times_ms):
    lines = [
        {"namespace": "E2E", "metric_name": name, "timestamp": at, "value": {"sum": 7.5}}
        for at in times_ms
    ]
    data = base64.b64encode("\n".join(map(json.dumps, lines)).encode()).decode()
    return json.dumps({"requestId": "1", "timestamp": 1, "records": [{"data": data}]}).encode()


def text(name, times_ms):
    return "".join(f"{name} 7.5 {at}\n" for at in times_ms).encode()


def influx(name, times_ms):
    return "".join(f"{name} value=7.5 {at}\n" for at in times_ms).encode()


def remote(name, times_ms):
    return remote_write.encode({"__name__": name}, [(at, 7.5) for at in times_ms])


JSON = {"Content-Type": "application/json"}
PROTOCOLS = {
    "remote_write": ("/api/v1/write", remote, remote_write.HEADERS, "{}", 400),
    "otlp": ("/v1/metrics", otlp, JSON, "{}", 200),
    "influx v1": ("/write?precision=ms", influx, {}, "{}_value", 400),
    "influx v2": ("/api/v2/write?precision=ms", influx, {}, "{}_value", 400),
    "text": ("/api/v1/import/prometheus", text, {}, "{}", 400),
    "firehose": ("/firehose/v1/metrics", firehose, JSON, "e2e_{}_sum", 200),
}


def future_samples(url, headers):
    """How many samples were refused so far, since they lay too far ahead."""
    rows = httpx.get(f"{url}/api/v1/refused", headers=headers, timeout=600).json()["data"]
    return sum(row["samples"] for row in rows if row["reason"] == "too_far_in_future")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_comes_is_stored_or_counted(platform, protocol):
    """Of two samples the one of now is read back, and the one of tomorrow is counted as refused."""
    path, encode, headers, series, status = PROTOCOLS[protocol]
    url = f"{platform.url}/api/data-ingest-service"
    key = {"Authorization": f"Bearer {platform.key}"}
    name, now_ms = "e2e_" + protocol.replace(" ", "_"), time.time_ns() // 1_000_000
    before = future_samples(url, key)
    body = encode(name, [now_ms, now_ms + 24 * HOUR_MS])
    answer = httpx.post(url + path, content=body, headers=headers | key, timeout=600)
    assert answer.status_code == status, answer.text
    assert future_samples(url, key) == before + 1
    (stored,) = platform.query(series.format(name), at_s=now_ms / 1000 + 1)
    assert stored["value"][1] == "7.5"


def test_a_batch_job_pushes_through_the_door(platform):
    """Pushgateway's path leads to the service, though its own metrics are not for outside."""
    url = f"{platform.url}/api/data-ingest-service/metrics"
    key = {"Authorization": f"Bearer {platform.key}"}
    answer = httpx.put(f"{url}/job/nightly", content=b"e2e_rows 5\n", headers=key, timeout=600)
    assert answer.status_code == 200, answer.text
    (stored,) = platform.query('e2e_rows{job="nightly"}', at_s=time.time() + 1)
    assert stored["value"][1] == "5"
    assert httpx.get(url, headers=key, timeout=600).status_code == 404
