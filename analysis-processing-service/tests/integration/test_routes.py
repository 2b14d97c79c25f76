"""The routes over ASGI, with a real Postgres: shapes, refusals, and tenants kept apart."""

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import anyio
import httpx
import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from asgi_lifespan import LifespanManager
from neighbours import Neighbours, api_key

from analysis_processing.app import create_app
from analysis_processing.chassis.clock import Clock
from analysis_processing.jobs import claims, columns

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
ANYBODY = {
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
}
ASKED = {
    "kind": "anomaly",
    "query": "up",
    "start_ms": NOW_MS - 3_600_000,
    "end_ms": NOW_MS,
    "step_ms": 60_000,
}


class FixedClock(Clock):
    """It is always NOW."""

    def now(self):
        return NOW


@pytest.fixture
def app(settings, engine):
    return create_app(settings, http=Neighbours().client(), clock=FixedClock())


@pytest.fixture
def call(app):
    """`call(method, path, key, …)`: one request to the running app."""

    @asynccontextmanager
    async def running():
        transport = httpx.ASGITransport(app=app)
        async with (
            LifespanManager(app),
            httpx.AsyncClient(transport=transport, base_url="http://aps") as client,
        ):
            yield client

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running()) as client,
    ):

        def one(method, path, key=None, *, extra=None, **more):
            headers = {"Content-Type": "application/json"} if "content" in more else {}
            headers |= {"X-API-Key": api_key(key)} if key else {}
            headers |= extra or {}
            return portal.call(partial(client.request, method, path, headers=headers, **more))

        yield one


@pytest.fixture
def finished(engine, settings):
    """Makes tenant A's job succeed with one series of three points; returns its id."""

    def make(call):
        made = call("POST", "/api/v1/jobs", "a", json=ASKED).json()
        header = {
            "start_ms": 0,
            "step_ms": 1,
            "steps": 3,
            "series": [{"labels": {"job": "x"}, "anomalies": []}],
        }
        payload = columns.encode(header, [np.zeros(3).tobytes()] * 5)
        with engine.begin() as db:
            held = claims.claim(db, "w", NOW, 15, 3)
            claims.store_chunk(db, held, 0, 1, payload)
            claims.succeed(
                db,
                held,
                NOW,
                chunks=1,
                summary={"series": 1, "points": 3, "anomalies": 0},
                written_series=["cloudopshub_anomaly_score"],
                warning=None,
            )
        return made["id"]

    return make


def all_routes(app):
    """(method, path) of every route, included routers too."""
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_requests_that_took_a_wrong_turn(call):
    """HEAD of a probe answers; what is meant for another service is told to come back; a slash too
    many is no redirect, which would leave the prefix of the door.
    """
    assert [call("HEAD", path).status_code for path in ("/health", "/ready")] == [200, 200]
    for code, status in (("aps", 200), ("dis", 503)):
        answer = call("GET", "/health", extra={"X-CloudOpsHub-Service": code})
        assert answer.status_code == status
    assert answer.json()["errorType"] == "unavailable"
    assert answer.headers["retry-after"] == "1"
    assert call("POST", "/api/v1/jobs/", "a", json=ASKED).status_code == 404


def test_a_new_job_and_the_same_again(call):
    """202 and the contract's job; then 200 and the same."""
    made = call("POST", "/api/v1/jobs", "a", json=ASKED)
    assert made.status_code == 202
    job = made.json()
    names = "id kind query start_ms end_ms step_ms params state progress attempts error created_at"
    assert set(job) == {*names.split(), "started_at", "finished_at", "created_by"}
    assert job["state"] == "queued"
    assert job["progress"] == {"done": 0, "total": 0, "message": "", "eta_s": None}
    assert job["created_at"] == "2026-01-01T12:00:00.000Z"
    assert job["params"]["sensitivity"] == 0.5
    again = call("POST", "/api/v1/jobs", "a", json=ASKED | {"params": {"sensitivity": 0.5}})
    assert again.status_code == 200
    assert again.json() == job


def test_two_clicks_in_one_step_are_one_question(call):
    """Ends are moved down to the step's grid, so a second later the same job is found."""
    first = call("POST", "/api/v1/jobs", "a", json=ASKED).json()
    later = {name: ASKED[name] + 900 for name in ("start_ms", "end_ms")}
    assert call("POST", "/api/v1/jobs", "a", json=ASKED | later).json()["id"] == first["id"]


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"kind": "astrology"}, 400, "anomaly"),
        ({"query": " "}, 400, "query is empty"),
        ({"query": "up\x00"}, 400, "NUL"),
        ({"query": "x" * 20_000}, 400, "query"),
        ({"step_ms": 10}, 400, "step_ms"),
        ({"step_ms": "60000"}, 400, "step_ms"),
        ({"start_ms": 2**70}, 400, "start_ms"),
        ({"end_ms": ASKED["start_ms"]}, 400, "at least 2 steps"),
        ({"end_ms": ASKED["start_ms"] - 600_000}, 400, "at least 2 steps"),
        ({"end_ms": NOW_MS + 3_600_000}, 400, "future"),
        ({"start_ms": 0}, 413, "limit=110000"),
        ({"params": {"sensitivity": 7}}, 400, "params.sensitivity"),
        ({"params": {"season": "90s"}}, 400, "params.season"),
        ({"tenant": str(uuid4())}, 400, "tenant"),
        ({"query": "\ud800"}, 400, "query"),
        ({"kind": "\ud800"}, 400, "kind"),
        ({"params": {"season": "\ud800"}}, 400, "params.season"),
        ({"params": {"\ud800": 1}}, 400, "params"),
        ({"\ud800": 1}, 400, "invalid"),
    ],
)
def test_a_bad_submit_says_what_is_wrong(call, changed, status, words):
    """Every refusal is Prometheus's envelope, and names the field and the bound."""
    body = json.dumps(ASKED | changed)
    answer = call("POST", "/api/v1/jobs", "a", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == "error"
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("key", "status", "read"), [(None, 401, 0), ("r", 403, 0), ("a", 413, 3)], ids=str
)
def test_a_long_body_is_not_kept(call, key, status, read):
    """A body is read only when its sender may submit, and no further than a job can be long."""
    pieces = 0

    async def long():
        nonlocal pieces
        while pieces < 40:
            pieces += 1
            yield b" " * 60_000

    answer = call("POST", "/api/v1/jobs", key, content=long())
    assert (answer.status_code, pieces) == (status, read)


def test_the_document_tells_the_body_of_a_submit(app):
    """OpenAPI has the fields of the body, though it is read by hand."""
    submit = app.openapi()["paths"]["/api/v1/jobs"]["post"]
    schema = submit["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == {*ASKED, "params"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_garbage_is_bad_data(call, body):
    """Bytes that are no submission are refused, never a crash."""
    assert call("POST", "/api/v1/jobs", "a", content=body).status_code == 400


def test_the_life_of_a_job_over_http(call):
    """Listed, read, cancelled, retried; no result before it succeeded."""
    job = call("POST", "/api/v1/jobs", "a", json=ASKED).json()
    path = f"/api/v1/jobs/{job['id']}"
    assert call("GET", "/api/v1/jobs?limit=1", "a").json() == {"jobs": [job]}
    assert call("GET", path, "a").json() == job
    early = call("GET", f"{path}/result", "a")
    assert (early.status_code, early.json()["errorType"]) == (409, "conflict")
    assert call("POST", f"{path}/cancel", "a").json()["state"] == "cancelled"
    assert call("POST", f"{path}/retry", "a").json()["state"] == "queued"
    assert call("POST", f"{path}/retry", "a").status_code == 409


def test_a_result(call, finished):
    """The assembled result is the contract's object."""
    identity = finished(call)
    answer = call("GET", f"/api/v1/jobs/{identity}/result", "a")
    assert answer.headers["content-type"] == "application/json"
    zeros = {name: [0.0, 0.0, 0.0] for name in columns.COLUMNS}
    series = {"labels": {"job": "x"}, "timestamps_ms": [0, 1, 2], **zeros, "anomalies": []}
    assert answer.json() == {
        "series": [series],
        "written_series": ["cloudopshub_anomaly_score"],
        "summary": {"series": 1, "points": 3, "anomalies": 0},
    }


def test_the_queue_is_a_metric(call):
    """Unfinished jobs by state, and the oldest one's wait, are scraped from any replica."""
    call("POST", "/api/v1/jobs", "a", json=ASKED)
    lines = call("GET", "/metrics").text.splitlines()
    assert 'cloudopshub_analysis_jobs{state="queued"} 1.0' in lines
    assert 'cloudopshub_analysis_jobs{state="running"} 0.0' in lines
    assert [
        line for line in lines if line.startswith("cloudopshub_analysis_oldest_queued_seconds ")
    ]


def test_analyses_describe_themselves(call):
    """Kinds come with parameters, defaults and bounds, and the limits of a job."""
    answer = call("GET", "/api/v1/analyses", "r").json()
    kind = next(kind for kind in answer["analyses"] if kind["kind"] == "anomaly")
    by_name = {parameter["name"]: parameter for parameter in kind["parameters"]}
    assert by_name["sensitivity"]["minimum"] == 0
    assert by_name["direction"]["choices"] == ["both", "up", "down"]
    assert answer["limits"]["series_max"] == 500


def test_every_route_needs_a_credential(app, call):
    """Route by route: nobody gets in but to the probes and the documentation."""
    routes = all_routes(app)
    assert len(routes) >= 10
    for method, path in routes:
        answer = call(method, path.replace("{id}", str(uuid4())))
        assert (answer.status_code == 401) != (path in ANYBODY), (method, path)


def test_every_route_needs_its_scope(app, call):
    """Route by route: reading needs metrics:read, the rest analysis:run; the answer names it."""
    for method, path in all_routes(app):
        if path in ANYBODY:
            continue
        weak, scope = ("w", "metrics:read") if method == "GET" else ("r", "analysis:run")
        answer = call(method, path.replace("{id}", str(uuid4())), weak, json=ASKED)
        assert answer.status_code == 403, (method, path)
        assert scope in answer.json()["error"]


def test_tenants_are_apart_on_every_route(app, call, finished):
    """Route by route: another tenant's job is exactly as absent as one that never was."""
    identity = finished(call)
    for method, path in all_routes(app):
        if "{id}" not in path:
            continue
        theirs = call(method, path.replace("{id}", identity), "b")
        nobodys = call(method, path.replace("{id}", (other := str(uuid4()))), "b")
        assert theirs.status_code == nobodys.status_code == 404, (method, path)
        assert theirs.text.replace(identity, "") == nobodys.text.replace(other, "")
    assert call("GET", "/api/v1/jobs", "b").json() == {"jobs": []}
    made = call("POST", "/api/v1/jobs", "b", json=ASKED)
    assert made.status_code == 202
    assert made.json()["id"] != identity
    mine = call("GET", "/api/v1/jobs", "a").json()["jobs"]
    assert [job["id"] for job in mine] == [identity]


@pytest.mark.parametrize("identity", ["1", "../../etc", "%00", "x" * 300])
def test_an_id_that_is_no_uuid_names_no_job(call, identity):
    """404, whatever stands where an id should."""
    assert call("GET", f"/api/v1/jobs/{identity}", "a").status_code == 404


def test_a_database_that_is_away(settings):
    """Ready says so, requests are 503 with Retry-After, health stays 200."""
    gone = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://u@/x?host=/nonexistent")}
    )
    app = create_app(gone, http=Neighbours().client())

    async def go():
        async with (
            LifespanManager(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app), base_url="http://a"
            ) as client,
        ):
            headers = {"X-API-Key": api_key("a")}
            return [
                await client.get(path, headers=headers)
                for path in ("/health", "/ready", "/api/v1/jobs")
            ]

    health, ready, jobs = anyio.run(go)
    assert (health.status_code, ready.status_code, jobs.status_code) == (200, 503, 503)
    assert ready.json()["checks"]["database"]["ok"] is False
    assert ready.json()["checks"]["user-billing-service"]["ok"] is True
    assert jobs.headers["retry-after"] == "1"


def test_no_route_takes_a_tenant(app):
    """The tenant comes from the credential: no parameter of any route is called one."""
    for methods in app.openapi()["paths"].values():
        for route in methods.values():
            names = [parameter["name"].lower() for parameter in route.get("parameters", [])]
            assert not [name for name in names if "tenant" in name or "org" in name]
