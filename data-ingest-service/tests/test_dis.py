"""The service from outside: it boots, answers its probes, stores a sample, and refuses clearly."""

import asyncio
import contextlib
import http.client
import http.server
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from data_ingest import batch
from data_ingest.chassis.identity.keys import checksum
from tests import wire

HERE = Path(__file__).resolve().parent.parent
TENANT = UUID(int=0xAA)
REMOTE_WRITE = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
START_S = 600.0


def key_of(letter: str) -> str:
    start = "coh_live_" + letter * 32
    return start + checksum(start)


WRITER, READER, REVOKED = key_of("w"), key_of("r"), key_of("x")
SCOPES = {WRITER: ["metrics:write"], READER: ["metrics:read"]}


class FakeBilling(http.server.BaseHTTPRequestHandler):
    """The internal routes of user-billing-service, as contracts.md gives them."""

    def do_GET(self) -> None:
        self._answer({"status": "ok", "seq": 0, "revocations": [], "tenant": None})

    def do_POST(self) -> None:
        posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        scopes = SCOPES.get(posted["key"])
        if scopes is None:
            self._answer({"active": False, "reason": "revoked"})
            return
        facts = {"key_id": str(UUID(int=1)), "tenant": str(TENANT), "scopes": scopes}
        limits = {"plan": "showback", "retention_days": 30}
        self._answer({"active": True, "expires_at": None, "ttl_s": 60, "limits": limits, **facts})

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self, body: dict[str, object]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


@contextlib.contextmanager
def fake_billing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeBilling)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class Service:
    url: str
    database_url: str
    process: subprocess.Popen[bytes]

    def write(self, body: bytes, key: str = WRITER, **headers: str) -> httpx.Response:
        sent = {**REMOTE_WRITE, "Authorization": f"Bearer {key}", **headers}
        return httpx.post(f"{self.url}/api/v1/write", content=body, headers=sent, timeout=6000)


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def status_of_long_query(url: str, size: int) -> int:
    """What GET /health answers with a query string of so many bytes; httpx would refuse to send."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=6000)
    with contextlib.closing(connection):
        connection.request("GET", "/health?" + "q" * size)
        return connection.getresponse().status


@pytest.fixture
def service(store_url: str, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    with fake_billing() as billing_url, (tmp_path / "log").open("wb") as log:
        environment = {
            **os.environ,
            "DATABASE_URL": store_url,
            "OBJECT_STORE_URL": f"file://{tmp_path}/objects",
            "UBS_URL": billing_url,
            "SERVICE_TOKEN": "t" * 43,
            "PORT": str(port),
            "DIS_SCRAPE_HOST": "false",
            "DIS_DECODED_BYTES_MAX": "1000000",
            "DIS_BODY_BYTES_MAX": "500000",
            "DIS_DRAIN_S": "0.2",
        }
        command = [sys.executable, "-m", "data_ingest"]
        with subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=log, stderr=log
        ) as process:
            running = Service(f"http://127.0.0.1:{port}", store_url, process)
            try:
                wait_until_ready(running, tmp_path / "log")
                yield running
            finally:
                process.kill()


def wait_until_ready(service: Service, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/ready", timeout=600).status_code == 200:
                return
        assert service.process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        threading.Event().wait(0.05)


def stored_batches(database_url: str) -> list[batch.Columns]:
    async def read() -> list[batch.Columns]:
        conn = await asyncpg.connect(database_url)
        rows = await conn.fetch("SELECT payload FROM metrics.batch ORDER BY batch_id")
        await conn.close()
        return [batch.unpack(row["payload"]) for row in rows]

    return asyncio.run(read())


def stored_values(database_url: str) -> list[float]:
    return [value for one in stored_batches(database_url) for value in one.values.tolist()]


def now_ms() -> int:
    return int(time.time() * 1000)


def request(*samples: tuple[int, float]) -> bytes:
    return wire.compressed(wire.series([(b"__name__", b"up")], samples))


def test_from_a_sample_to_a_stop(service):
    """It answers its probes, stores what a key with metrics:write sends, and stops on SIGTERM."""
    assert httpx.get(f"{service.url}/health", timeout=600).json() == {"status": "ok"}
    checks = httpx.get(f"{service.url}/ready", timeout=600).json()["checks"]
    assert set(checks) >= {"postgres", "object_store", "compaction"}
    at = now_ms()
    answer = service.write(request((at, 41.5)))
    assert (answer.status_code, answer.content) == (204, b"")
    assert stored_values(service.database_url) == [41.5]
    metrics = httpx.get(f"{service.url}/metrics", timeout=600).text
    line = 'cloudopshub_ingest_samples_total{outcome="accepted",protocol="remote_write"} 1.0'
    assert line in metrics
    assert 'route="/api/v1/write"' in metrics
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(600) in {0, -signal.SIGTERM}
    assert stored_values(service.database_url) == [41.5]


def test_both_versions_of_remote_write_write_one_series(service):
    """A sender that learns 2.0 goes on with its series, and is told what was written."""
    at = now_ms()
    message = wire.Request2(symbols=[b"", b"__name__", b"up"])
    message.timeseries.add(labels_refs=[1, 2], samples=[{"timestamp": at, "value": 2.0}])
    assert service.write(request((at - 1, 1.0))).status_code == 204
    content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    body = wire.compressed(message.SerializeToString())
    for _ in range(2):
        answer = service.write(body, **{"Content-Type": content_type})
        assert answer.status_code == 204
        assert answer.headers["x-prometheus-remote-write-samples-written"] == "1"
    assert stored_values(service.database_url) == [1.0, 2.0, 2.0]
    batches = stored_batches(service.database_url)
    assert len({series_id for one in batches for series_id in one.series_ids.tolist()}) == 1


def test_a_batch_job_pushes(service):
    """Pushgateway's path stores what a job pushes, and `/metrics` is still the service's own."""
    headers = {"Authorization": f"Bearer {WRITER}"}
    url = f"{service.url}/metrics/job/nightly/zone/eu"
    answer = httpx.put(url, content=b"rows 5\n", headers=headers, timeout=6000)
    assert (answer.status_code, answer.content) == (200, b"")
    assert stored_values(service.database_url)[0] == 5.0
    imported = f"{service.url}/api/v1/import/prometheus"
    answer = httpx.post(imported, content=b"rows 6\n", headers=headers, timeout=6000)
    assert (answer.status_code, stored_values(service.database_url)[-1]) == (204, 6.0)
    assert httpx.post(url, content=b"rows 5\n", timeout=6000).status_code == 401
    page = httpx.get(f"{service.url}/metrics", timeout=600).text
    assert 'route="/metrics/{group:path}"' in page
    assert "nightly" not in page


def test_requests_that_took_a_wrong_turn(service):
    """A write with a slash at its end is a write; HEAD of a probe answers; what is meant for
    another service is told to come back, since a 404 would make its sender drop it; a slash too
    many is no redirect, which would leave the prefix of the door.
    """
    headers = {**REMOTE_WRITE, "Authorization": f"Bearer {WRITER}"}
    at = now_ms()
    for n, path in enumerate(("/api/v1/write/", "/api/v1/push/", "/api/prom/push/")):
        body = request((at + n, float(n)))
        answer = httpx.post(service.url + path, content=body, headers=headers, timeout=6000)
        assert answer.status_code == 204
    assert sorted(stored_values(service.database_url)) == [0.0, 1.0, 2.0]
    assert 'route="/api/v1/write/"' not in httpx.get(f"{service.url}/metrics", timeout=600).text
    for path in ("/health", "/ready"):
        assert httpx.head(f"{service.url}{path}", timeout=600).status_code == 200
    assert status_of_long_query(service.url, 64 * 1024) == 200
    answer = service.write(request((at, 5.0)), **{"X-CloudOpsHub-Service": "das"})
    assert (answer.status_code, answer.json()["errorType"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert service.write(request((at, 5.0)), **{"X-CloudOpsHub-Service": "dis"}).status_code == 204
    assert httpx.get(f"{service.url}/health/", timeout=600).status_code == 404


def test_refusals(service):
    """Each refusal has its status and reason in Prometheus's form; its samples are not stored."""
    at = now_ms()
    good = request((at, 1.0))
    cases = [
        (good, {"key": "nonsense"}, 401, "unauthenticated"),
        (good, {"key": REVOKED}, 401, "unauthenticated"),
        (good, {"key": READER}, 403, "forbidden"),
        (b"garbage", {}, 400, "bad_data"),
        (b"\xff\xff\xff\xff\x0f\x00", {}, 413, "too_large"),
        (bytes(500_001), {}, 413, "too_large"),
        (good, {"Content-Encoding": "gzip"}, 415, "unsupported"),
        (
            wire.compressed(wire.field(4, b"") + wire.field(5, b"x")),
            {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
            415,
            "unsupported",
        ),
        (wire.compressed(wire.field(5, b"x")), {}, 415, "unsupported"),
    ]
    for body, how, status, kind in cases:
        answer = service.write(body, **how)
        assert (answer.status_code, answer.json()["errorType"]) == (status, kind), answer.text
    assert stored_values(service.database_url) == []
    ten_years_ms = 10 * 365 * 86_400_000
    answer = service.write(request((at, 7.0), (at + ten_years_ms, 8.0), (at - ten_years_ms, 9.0)))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "2 samples refused (too_far_in_future=1 too_old=1), 1 stored; first: " in error
    assert stored_values(service.database_url) == [7.0]


def test_a_tenant_sees_what_was_refused(service):
    """By reason and key: how many, an example with its labels, and when; others see nothing."""
    at = now_ms()
    for _ in range(2):
        assert service.write(request((at, 7.0), (at + 10**10, 8.0))).status_code == 400
    url = f"{service.url}/api/v1/refused"
    seen = httpx.get(url, headers={"Authorization": f"Bearer {READER}"}, timeout=600).json()["data"]
    assert [(one["reason"], one["samples"]) for one in seen] == [("too_far_in_future", 2)]
    assert seen[0]["sender"] == str(UUID(int=1))
    assert f"timestamp {at + 10**10} is outside" in seen[0]["example"]
    assert "__name__='up'" in seen[0]["example"]
    assert at / 1000 - 1 < datetime.fromisoformat(seen[0]["firstTime"]).timestamp()
    assert seen[0]["firstTime"] < seen[0]["lastTime"]
    before = httpx.get(
        url, params={"end": 1}, headers={"Authorization": f"Bearer {READER}"}, timeout=600
    )
    assert before.json()["data"] == []
    assert (
        httpx.get(url, headers={"Authorization": f"Bearer {WRITER}"}, timeout=600).status_code
        == 403
    )


@pytest.mark.parametrize(
    "missing", ["DATABASE_URL", "OBJECT_STORE_URL", "UBS_URL", "SERVICE_TOKEN"]
)
def test_a_missing_setting_is_named(missing):
    """Without a setting that has no default it does not start, and one line names that setting."""
    given = {
        "DATABASE_URL": "postgresql://x@/x",
        "OBJECT_STORE_URL": "file:///x",
        "UBS_URL": "http://127.0.0.1:1",
        "SERVICE_TOKEN": "t" * 43,
    }
    environment = {"PATH": os.environ["PATH"], **given}
    del environment[missing]
    done = subprocess.run(
        [sys.executable, "-m", "data_ingest"],
        cwd=HERE,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"data-ingest-service cannot start: {missing} is missing"
    ]


def test_a_wrong_scrape_target_is_named(tmp_path):
    """A target that cannot be scraped stops the start with one line that names its entry."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": "postgresql://x@/x",
        "OBJECT_STORE_URL": f"file://{tmp_path}",
        "UBS_URL": "http://127.0.0.1:1",
        "SERVICE_TOKEN": "t" * 43,
        "DIS_SCRAPE_TARGETS": "first=http://127.0.0.1:9100/metrics,typo=http://127.0.0.1:99999/",
    }
    command = [sys.executable, "-m", "data_ingest"]
    done = subprocess.run(
        command,
        cwd=HERE,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "data-ingest-service cannot start: The scrape targets cannot be used: DIS_SCRAPE_TARGETS,"
        " entry 2, typo: the port is not one of 1 to 65535, or the host is none"
    )
