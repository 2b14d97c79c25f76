"""The service from outside: it boots, answers its probes, one happy path, one refusal."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from conftest import NOW_MS
from embedded_postgres import execute, fresh_database
from factories import SCHEMA

from data_api.chassis.database import DatabaseUnavailable
from data_api.store.catalogue import Catalogue, Database

SERVICE = Path(__file__).parent.parent
TYPES = "bigint|uuid|jsonb|bytea|xid8|timestamptz|integer|smallint|text"
NAMES = ("DATABASE_URL", "OBJECT_STORE_URL", "UBS_URL", "SERVICE_TOKEN")


async def test_the_service_answers_what_was_committed(das, ingest, tenant):
    """A sample committed a moment ago is the answer to the next query, and only with a key."""
    await ingest.write(tenant, {"__name__": "up", "job": "x"}, [(NOW_MS - 1000, 1.0)])
    answer = await das.get("/api/v1/query", params={"query": "up"})
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [{"metric": {"__name__": "up", "job": "x"}, "value": [NOW_MS // 1000, "1"]}],
        },
    }
    refused = await das.get("/api/v1/query", params={"query": "up"}, headers={"X-API-Key": "no"})
    assert refused.status_code == 401
    assert refused.json()["errorType"] == "unauthenticated"


def free_port():
    """A port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def test_the_process_boots_and_ends(database_url, objects, hub, tenant):
    """`python -m data_api` serves within seconds, answers a query, drains and ends at SIGTERM."""

    class Billing(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = httpx.Request(self.command, f"http://ubs{self.path}", content=body)
            answer = hub.handle(request)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815 - the base class's words

        def log_message(self, *_):
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Billing) as billing:
        threading.Thread(target=billing.serve_forever, daemon=True).start()
        port = free_port()
        env = os.environ | {
            "DATABASE_URL": database_url,
            "OBJECT_STORE_URL": objects.as_uri(),
            "UBS_URL": f"http://127.0.0.1:{billing.server_port}",
            "SERVICE_TOKEN": "t" * 43,
            "PORT": str(port),
            "DAS_DRAIN_S": "6",
        }
        command = [sys.executable, "-m", "data_api"]
        process = subprocess.Popen(command, cwd=SERVICE, env=env, stdout=subprocess.DEVNULL)
        try:
            base = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 600
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{base}/ready", timeout=60).status_code == 200:
                        break
                assert time.monotonic() < deadline, "not ready in time"
                assert process.poll() is None, "ended before it was ready"
                threading.Event().wait(0.05)
            headers = {"X-API-Key": hub.key(tenant)}
            for query, kind in (("1+1", "scalar"), ("sum(rate(up[5m]))", "vector")):
                answer = httpx.post(
                    f"{base}/api/v1/query", data={"query": query}, headers=headers, timeout=60
                )
                assert answer.json()["data"]["resultType"] == kind
            with httpx.Client(base_url=base, timeout=60) as probe:
                assert probe.get("/ready").status_code == 200
                process.terminate()
                while (ready := probe.get("/ready")).status_code == 200:
                    assert time.monotonic() < deadline, "never drained"
                assert ready.json()["checks"]["process"] == {"ok": False, "detail": "stopping"}
                assert probe.get("/health").status_code == 200
            assert process.wait(600) in {0, -signal.SIGTERM}
        finally:
            process.kill()
            process.wait(30)
            billing.shutdown()


async def test_the_probes_tell_the_truth(serve, hub, objects):
    """/health touches nothing; /ready names each dependency; /metrics is Prometheus text."""
    client = await serve()
    assert (await client.get("/health")).json() == {"status": "ok"}
    ready = await client.get("/ready")
    assert ready.status_code == 200
    assert set(ready.json()["checks"]) == {
        "postgres", "metrics schema", "object store", "identity", "rules schema",
    }  # fmt: skip
    hub.down = True
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["identity"]["ok"] is False
    assert ready.json()["checks"]["postgres"]["ok"] is True
    metrics = (await client.get("/metrics")).text
    assert "cloudopshub_http_requests_total" in metrics


async def test_a_missing_schema_is_said(serve, server_url):
    """Before the store is migrated the service is up, says what to run, and recovers alone."""
    with fresh_database(server_url, "das_empty") as url:
        client = await serve(database_url=url)
        ready = (await client.get("/ready")).json()["checks"]["metrics schema"]
        assert ready["ok"] is False
        assert "schema metrics is missing or old: run python -m data_ingest" in ready["detail"]
        execute(url, SCHEMA)
        assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_setting_stops_the_start(missing):
    """One line on stderr names the variable; nothing is served half configured."""
    given = {
        "DATABASE_URL": "postgresql:///x",
        "OBJECT_STORE_URL": "file:///tmp/x",
        "UBS_URL": "http://127.0.0.1:1",
        "SERVICE_TOKEN": "t",
    }
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env |= {name: value for name, value in given.items() if name != missing}
    done = subprocess.run(
        [sys.executable, "-m", "data_api"], cwd=SERVICE, env=env, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert missing in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


async def test_a_tenants_own_key_is_needed_everywhere(serve):
    """Every route but the probes and the documentation asks for a credential."""
    client = await serve()
    open_paths = {"/health", "/ready", "/metrics"}
    spec = (await client.get("/openapi.json")).json()
    assert len(spec["paths"]) > 20
    routes = [
        (method, path.replace("{name}", "job"))
        for path, methods in spec["paths"].items()
        for method in methods
        if path not in open_paths
    ]
    for method, path in [*routes, ("get", "/api/v1/anything"), ("delete", "/api/v1/series")]:
        for prefix in ("",) if path.startswith("/alertmanager") else ("", "/prometheus"):
            answer = await client.request(method, prefix + path)
            assert answer.status_code == 401, (method, prefix, path)


async def test_a_restart_of_postgres_is_not_seen(das, ingest, tenant, server_url):
    """Kept sessions that ended in the meantime are replaced: the next query is answered."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - 1000, 1.0)])
    for _ in range(5):
        answer = await das.get("/api/v1/query", params={"query": "up"})
        assert answer.status_code == 200, answer.text
        name = await ingest.connection.fetchval("SELECT current_database()")
        execute(
            server_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
            "AND application_name = 'data-api-service'",
        )


@pytest.mark.parametrize("base", ["/api/v1", "/prometheus/api/v1"])
async def test_postgres_may_go_and_come_back(serve, hub, ingest, tenant, server_url, base):
    """While Postgres refuses, answers are 503 with the reason; then all is as before."""
    await ingest.write(tenant, {"__name__": "up"}, [(NOW_MS - 1000, 1.0)])
    client: httpx.AsyncClient = await serve()
    client.headers["X-API-Key"] = hub.key(tenant)

    async def ask():
        return await client.get(f"{base}/query", params={"query": "up"})

    assert (await ask()).status_code == 200
    name = await ingest.connection.fetchval("SELECT current_database()")
    # Every session ends and no new one is let in, which is what a stopped server looks like.
    execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        execute(
            server_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        refused = await ask()
        assert refused.status_code == 503
        assert refused.json()["errorType"] == "unavailable"
        assert "Postgres" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert (await client.get("/health")).status_code == 200
    finally:
        execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert (await ask()).json()["data"]["result"][0]["value"][1] == "1"


async def test_a_schema_without_a_column_that_is_read_is_not_complete(server_url):
    """Each is missed by name of the schema, with what to run; a fresh database is complete."""
    with fresh_database(server_url, "das") as url:
        execute(url, SCHEMA)
        async with Database(url, 2) as database:
            catalogue = Catalogue(database, 1 << 20)
            assert await catalogue.check_schema() == "schema metrics is complete"
            execute(url, "ALTER TABLE metrics.block RENAME COLUMN tail_sha256 TO other")
            with pytest.raises(DatabaseUnavailable, match=r"schema metrics.*data_ingest.migrate"):
                await catalogue.check_schema()


def test_the_schema_is_that_of_the_service_that_owns_it():
    """Columns of the tables read here are those of data-ingest-service's migrations, in order."""
    versions = SERVICE.parent / "data-ingest-service" / "migrations" / "versions"
    if not versions.is_dir():
        pytest.skip("data-ingest-service is not beside this folder")
    text = "\n".join(path.read_text() for path in sorted(versions.glob("*.py")))

    def columns(sql: str, table: str) -> list[str]:
        body = re.search(
            rf"CREATE TABLE metrics\.{table} \((.*?)\)\s*(?:;|\"\"\"|PARTITION)", sql, re.DOTALL
        )
        assert body is not None, table
        added = re.findall(rf"ALTER TABLE metrics\.{table}\s+ADD(.*?)\"\"\"", sql, re.DOTALL)
        return [
            *re.findall(rf"(?:^|,)\s*([a-z_0-9]+)\s+(?:{TYPES})", body[1]),
            *(name for one in added for name in re.findall(r"COLUMN ([a-z_0-9]+)", one)),
        ]

    for table in ("series", "batch", "block", "metadata", "tenant", "exemplar"):
        assert columns(SCHEMA, table) == columns(text, table), table


@pytest.mark.parametrize("prefix", ["", "/prometheus"])
@pytest.mark.parametrize("path", ["/", "/-/healthy", "/-/ready"])
async def test_it_is_there_as_prometheus_is(serve, prefix, path):
    """What a client of Prometheus asks to see whether it is there answers, GET and HEAD."""
    client = await serve()
    answer = await client.get(prefix + path)
    assert (answer.status_code, answer.text[-1:]) == (200, "\n")
    assert (await client.head(prefix + path)).status_code == 200


async def test_prometheus_ready_is_ready(serve, hub):
    """`/-/ready` is 503 when `/ready` is."""
    client = await serve(database_url="postgresql://nobody@127.0.0.1:9/nothing")
    assert (await client.get("/ready")).status_code == 503
    assert (await client.get("/-/ready")).status_code == 503
    assert (await client.get("/-/healthy")).status_code == 200


async def test_requests_that_took_a_wrong_turn(serve):
    """HEAD of a probe answers; what is meant for another service is told to come back; a slash too
    many is no redirect, which would leave the prefix of the door.
    """
    client = await serve()
    for path in ("/health", "/ready"):
        assert (await client.head(path)).status_code == 200
    for service, status in (("das", 200), ("dis", 503)):
        headers = {"X-CloudOpsHub-Service": service}
        answer = await client.get("/health", headers=headers)
        assert answer.status_code == status
    assert answer.json()["errorType"] == "unavailable"
    assert answer.headers["retry-after"] == "1"
    assert (await client.get("/health/")).status_code == 404
