"""The one public door, through a real nginx: where requests go, what never passes, what is
streamed, what a failure looks like.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import door
import moving
import pytest
from nginx_conf import modules_of

if TYPE_CHECKING:
    from pathlib import Path

    from contract import State

Answer = tuple[int, dict[str, str], bytes]


def ask(
    base: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request with exactly this path: nothing is normalised on the way out."""
    host = urlsplit(base).netloc
    connection = http.client.HTTPConnection(host, timeout=600)
    try:
        connection.putrequest(
            method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True
        )
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("prefix", "service"),
    [
        ("data-api-service", "das"),
        ("das", "das"),
        ("data-ingest-service", "dis"),
        ("dis", "dis"),
        ("analysis-processing-service", "aps"),
        ("aps", "aps"),
        ("user-billing-service", "ubs"),
        ("ubs", "ubs"),
    ],
)
def test_every_service_has_its_name_and_its_code(
    base: str, state: State, prefix: str, service: str
) -> None:
    """/api/<name>/x and /api/<code>/x are that service's /x."""
    status, _, body = ask(base, "GET", f"/api/{prefix}/echo?a=b%2Fc&a=d")
    assert status == 200
    assert json.loads(body)["path"] == "/echo"
    (request,) = state.asked(service, "/echo")
    assert request.query == {"a": ["b/c", "d"]}


def test_the_services_learn_where_a_request_came_from(base: str, state: State) -> None:
    """Host, scheme, client, prefix and a request id travel with it; a caller's own id is kept."""
    ask(
        base,
        "GET",
        "/api/das/echo",
        headers={
            "Host": "hub.example:8080",
            "X-Forwarded-For": "203.0.113.7",
            "X-Request-ID": "trace-me-0001",
        },
    )
    (request,) = state.asked("das", "/echo")
    assert request.headers["host"] == "hub.example:8080"
    assert request.headers["x-forwarded-host"] == "hub.example:8080"
    assert request.headers["x-forwarded-proto"] == "http"
    assert request.headers["x-forwarded-for"] == "203.0.113.7, 127.0.0.1"
    assert request.headers["x-forwarded-prefix"] == "/api/das"
    assert request.headers["x-request-id"] == "trace-me-0001"
    ask(base, "GET", "/api/das/echo", headers={"X-Request-ID": 'x" injected'})
    assert len(state.asked("das", "/echo")[1].headers["x-request-id"]) == 32


def test_credentials_and_cookies_pass_untouched(base: str, state: State) -> None:
    """What a service verifies is what the caller sent."""
    ask(
        base,
        "POST",
        "/api/dis/echo",
        b"x",
        {
            "Authorization": "Bearer a.b.c",
            "X-API-Key": "k",
            "Cookie": "cloudopshub=1",
            "Content-Encoding": "snappy",
        },
    )
    (request,) = state.asked("dis", "/echo")
    assert [
        request.headers[name]
        for name in ("authorization", "x-api-key", "cookie", "content-encoding")
    ] == ["Bearer a.b.c", "k", "cloudopshub=1", "snappy"]


@pytest.mark.parametrize(
    "path",
    [
        "internal/introspect",
        "internal",
        "internal/",
        "INTERNAL/introspect",
        "%69nternal/introspect",
        "%49nternal/introspect",
        "/internal/introspect",
        "//internal//introspect",
        "./internal/introspect",
        "x/../internal/introspect",
        "x/%2e%2e/internal/introspect",
        "%2e/internal/introspect",
        "%2finternal/introspect",
        "x%2f..%2finternal/introspect",
        "internal%2fintrospect",
        "internal%2Fintrospect",
        "health/../../ubs/internal/introspect",
        "metrics",
        "metrics/",
        "%6detrics",
        "/metrics",
        "x/../metrics",
        "metrics/jobs",
        "metrics/job",
        "docs",
        "docs/",
        "prometheus/internal/introspect",
        "prometheus/metrics",
    ],
)
def test_internal_routes_are_never_reached(base: str, state: State, path: str) -> None:
    """/internal, /metrics and /docs of a service do not exist from outside, however they are
    spelled.
    """
    for prefix in ("ubs", "user-billing-service", "das", "dis", "aps"):
        status, headers, body = ask(base, "GET", f"/api/{prefix}/{path}")
        assert status in (400, 404), (prefix, status, body)
        assert b"leaked" not in body
        assert not state.requests
        if status == 404:
            assert json.loads(body)["errorType"] == "not_found"
            assert headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    "path",
    [
        "%2569nternal/introspect",
        "internal;x/introspect",
        "internal%00/introspect",
        "..;/internal/introspect",
        "\\internal/introspect",
    ],
)
def test_odd_spellings_do_not_turn_into_internal_routes(base: str, path: str) -> None:
    """What nginx does not read as /internal does not reach a service as /internal either."""
    status, _, body = ask(base, "GET", f"/api/ubs/{path}")
    assert status >= 400
    assert b"leaked" not in body


def test_label_values_named_like_internal_routes_still_work(base: str, state: State) -> None:
    """Only the first part of a path is reserved: a label called `metrics` is a label, /v1/metrics
    is OTLP's, and what is below /metrics/job is pushed.
    """
    ask(base, "GET", "/api/das/api/v1/label/metrics/values")
    ask(base, "POST", "/api/dis/v1/metrics", b"")
    ask(base, "PUT", "/api/dis/metrics/job/nightly/zone/eu", b"")
    ask(base, "POST", "/api/dis/metrics/job@base64/YQ", b"")
    assert [request.path for request in state.requests] == [
        "/api/v1/label/metrics/values",
        "/v1/metrics",
        "/metrics/job/nightly/zone/eu",
        "/metrics/job@base64/YQ",
    ]


def test_no_service_of_that_name(base: str, state: State) -> None:
    """An unknown name under /api is a JSON 404, not the page."""
    for path in ("/api/nobody/x", "/api/", "/api/das", "/api"):
        status, headers, _ = ask(base, "GET", path)
        assert status in (301, 404), path
        assert "text/html" not in headers.get("content-type", "") or path == "/api" or status == 301
    assert not state.requests


def test_a_request_body_streams_through(base: str, state: State) -> None:
    """The service has the first part of a chunked body before the last one is sent."""
    host, port = urlsplit(base).hostname, urlsplit(base).port
    with socket.create_connection((host, port), timeout=600) as client:
        client.sendall(
            b"POST /api/dis/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(b"4\r\nearl\r\n")
        assert state.first_part.wait(600)
        client.sendall(b"1\r\ny\r\n0\r\n\r\n")
        assert b" 200 " in client.recv(4096).split(b"\r\n")[0]
    (request,) = state.asked("dis", "/echo")
    assert request.body == b"early"


def test_a_large_write_passes_and_an_oversized_body_is_refused_in_json(
    base: str, state: State
) -> None:
    """Dis takes 64 MiB bodies, and larger ones as imports; elsewhere 2 MiB is the end, told with
    the limit's name and before the service sees it.
    """
    status, _, body = ask(base, "POST", "/api/dis/echo", bytes(64 * 2**20))
    assert status == 200
    assert json.loads(body)["bytes"] == 64 * 2**20
    ask(base, "POST", "/api/dis/api/v1/imports", bytes(129 * 2**20))
    (request,) = state.asked("dis", "/api/v1/imports")
    assert len(request.body) == 129 * 2**20
    status, headers, body = ask(base, "POST", "/api/das/echo", bytes(2 * 2**20 + 1))
    assert status == 413
    assert json.loads(body)["errorType"] == "too_large"
    assert headers["content-type"].startswith("application/json")
    assert not state.asked("das", "/echo")


@pytest.mark.parametrize(
    ("request_bytes", "status", "error_type"),
    [
        (b"GET /api/das/x HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_data"),
        (b"GET /api/das/x HTTP/1.1\r\n\r\n", 400, "bad_data"),
        (b"nonsense\r\n\r\n", 400, "bad_data"),
        (b"POST /api/das/x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad_data"),
        (b"GET /api/das/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_data"),
        (b"TRACE /api/das/x HTTP/1.1\r\nHost: a\r\n\r\n", 405, "bad_data"),
        (b"GET /api/das/?%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"q" * 80_000), 414, "too_large"),
        (
            b"GET /api/das/x HTTP/1.1\r\nHost: a\r\nX-Long: %s\r\n\r\n" % (b"v" * 80_000),
            431,
            "too_large",
        ),
        (
            b"POST /api/ubs/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n",
            413,
            "too_large",
        ),
        (
            b"POST /api/das/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: odd\r\n\r\n",
            501,
            "internal",
        ),
        (b"GET /api/das/x HTTP/9.1\r\nHost: a\r\n\r\n", 505, "internal"),
    ],
    ids=[
        "host",
        "no host",
        "no request",
        "length",
        "escape",
        "method",
        "address",
        "header",
        "body",
        "encoding",
        "version",
    ],
)
def test_what_nginx_itself_refuses_is_json(
    base: str, state: State, request_bytes: bytes, status: int, error_type: str
) -> None:
    """Whatever is wrong with a request, a client of the API reads the shape of the API."""
    at = urlsplit(base)
    with socket.create_connection((at.hostname, at.port), timeout=600) as client:
        client.sendall(request_bytes)
        response = http.client.HTTPResponse(client)
        response.begin()
        body = json.loads(response.read())
    assert (response.status, body["status"], body["errorType"]) == (status, "error", error_type)
    assert body["error"]
    assert response.headers.get_content_type() == "application/json"
    assert not state.requests


@pytest.mark.parametrize("path", ["/~unreadable", "/%7Eunreadable"])
def test_the_errors_have_no_address_of_their_own(base: str, path: str) -> None:
    """Where errors are made is reached by errors only."""
    assert ask(base, "GET", path)[0] == 404


def test_a_query_string_of_64_kib_passes(nginx: str, dist: Path, tmp_path: Path) -> None:
    """Grafana's long queries arrive whole, as GET too."""
    query = b"q=" + b"v" * (64 * 1024 - 2)
    arrived = bytearray()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not arrived.endswith(b"\r\n\r\n"):
                arrived.extend(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = threading.Thread(target=answer, args=(listener,))
        service.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        urls = dict.fromkeys(("das", "dis", "aps", "ubs"), url)
        with door.running_door(nginx, tmp_path, dist, urls) as base:
            path = f"/api/data-api-service/api/v1/query_range?{query.decode()}"
            assert ask(base, "GET", path)[0] == 204
        service.join()
    assert arrived.startswith(b"GET /api/v1/query_range?%s HTTP/1.1\r\n" % query)


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("a%20b", "/a%20b"),
        ("a%2Fb", "/a/b"),
        ("a%25b", "/a%25b"),
        ("a%3Fb?c=%3F", "/a%3Fb?c=%3F"),
        ("a%23b", "/a%23b"),
        ("a%0Ab", "/a%0Ab"),
        ("%C3%A4", "/%C3%A4"),
        ("api/das/x", "/api/das/x"),
        ("", "/"),
    ],
)
def test_a_path_keeps_what_it_means(base: str, state: State, path: str, arrives: str) -> None:
    """What is behind the prefix arrives normalised and escaped anew, whatever it is made of."""
    ask(base, "GET", f"/api/das/{path}")
    (request,) = state.requests
    assert request.target == arrives


def test_a_service_is_told_for_whom_a_request_is(base: str, state: State) -> None:
    """Behind an address that has moved another service may answer: it must be able to refuse."""
    for code in ("das", "dis", "aps", "ubs"):
        ask(base, "GET", f"/api/{code}/echo", headers={"X-CloudOpsHub-Service": "other"})
        (request,) = state.asked(code, "/echo")
        assert request.headers["x-cloudopshub-service"] == code


def test_connections_to_services_are_kept(base: str, state: State) -> None:
    """Requests go upstream as HTTP/1.1 without `Connection: close`."""
    for _ in range(3):
        ask(base, "GET", "/api/das/echo")
    assert all("connection" not in request.headers for request in state.asked("das", "/echo"))


def test_a_service_that_is_down_is_a_clean_503(nginx: str, dist: Path, tmp_path: Path) -> None:
    """Nobody listens: JSON that says so, with Retry-After, soon; the page itself still comes."""
    nowhere = {
        code: f"http://127.0.0.1:{door.free_port()}" for code in ("das", "dis", "aps", "ubs")
    }
    with door.running_door(nginx, tmp_path, dist, nowhere) as base:
        started = time.monotonic()
        status, headers, body = ask(base, "GET", "/api/das/api/v1/query?query=up")
        assert time.monotonic() - started < 50  # nginx alone would try for 60 s
        assert status == 503
        assert json.loads(body) == {
            "status": "error",
            "errorType": "unavailable",
            "error": "the service behind /api/das does not answer; try again shortly",
        }
        assert headers["retry-after"] == "2"
        assert headers["cache-control"] == "no-store"
        assert ask(base, "GET", "/")[0] == 200


def test_a_services_own_error_passes_through(base: str, state: State) -> None:
    """A 503 that a service answers keeps its body."""
    state.down.add("das")
    status, _, body = ask(base, "GET", "/api/das/api/v1/query")
    assert (status, json.loads(body)["error"]) == (503, "das is down for the test")


def test_a_service_that_moves_is_found_again(nginx: str, dist: Path, tmp_path: Path) -> None:
    """Two that swap addresses: each route is right within 10 s, and until then nobody gets
    another service's answer. One whose name is gone is unavailable, and found when it is back.
    """
    addresses = {"das.test": "127.0.0.2", "dis.test": "127.0.0.3"}
    with moving.services(addresses) as (port, resolver):
        upstreams = {code: f"{code}.test:{port}" for code in ("das", "dis", "aps", "ubs")}
        with door.running_container_door(nginx, tmp_path, dist, resolver, upstreams) as base:

            def who(code: str) -> str:
                status, _, body = ask(base, "POST", f"/api/{code}/api/v1/write", b"x")
                return body.decode() if status == 200 else str(status)

            def right(code: str, expected: str) -> bool:
                deadline = time.monotonic() + 600
                while (answer := who(code)) != expected:
                    assert answer == "503"
                    assert time.monotonic() < deadline
                    time.sleep(0.05)  # between polls, within the bound
                return True

            assert (who("das"), who("dis"), who("aps")) == ("das", "dis", "503")
            addresses.update({"das.test": "127.0.0.3", "dis.test": "127.0.0.2"})
            assert right("dis", "dis")
            assert right("das", "das")
            moved = addresses.pop("das.test")
            assert right("das", "503")
            addresses["das.test"] = moved
            assert right("das", "das")


def test_the_page_is_fresh_and_its_assets_are_for_ever(base: str, dist: Path) -> None:
    """index.html is asked for each time, hashed files never again; a missing file is not
    remembered.
    """
    status, headers, body = ask(base, "GET", "/")
    assert status == 200
    assert headers["cache-control"] == "no-cache"
    assert body == (dist / "index.html").read_bytes()
    asset = next((dist / "assets").glob("main.*.js"))
    status, headers, _ = ask(base, "GET", f"/assets/{asset.name}")
    assert status == 200
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-type"].startswith("text/javascript")
    status, headers, _ = ask(base, "GET", "/assets/gone.123456789abc.js")
    assert (status, headers["cache-control"]) == (404, "no-cache")


def test_security_headers_are_on_every_kind_of_answer(base: str) -> None:
    """The strict policy stands on the page, on assets, on errors and on what services answer."""
    for path in ("/", "/nothing", "/api/das/echo", "/api/ubs/internal"):
        _, headers, _ = ask(base, "GET", path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "nginx/" not in headers["server"]
        assert "strict-transport-security" not in headers
    _, headers, _ = ask(base, "GET", "/", headers={"X-Forwarded-Proto": "https"})
    assert headers["strict-transport-security"] == "max-age=31536000"


def test_text_travels_compressed(base: str, dist: Path) -> None:
    """The page's modules and the services' JSON are gzipped for who takes it."""
    asset = next((dist / "assets" / "vendor").glob("uplot.*.js"))
    _, headers, body = ask(
        base, "GET", f"/assets/vendor/{asset.name}", headers={"Accept-Encoding": "gzip"}
    )
    assert headers["content-encoding"] == "gzip"
    assert len(body) < asset.stat().st_size / 2


def test_nginx_answers_probes_itself(base: str, state: State) -> None:
    """/health and /ready do not depend on any service."""
    state.down |= {"das", "dis", "aps", "ubs"}
    assert json.loads(ask(base, "GET", "/health")[2]) == {"status": "ok"}
    assert json.loads(ask(base, "GET", "/ready")[2])["checks"]["nginx"]["ok"] is True
    assert not state.requests


def test_metrics_of_the_door_are_for_neighbours_only(base: str, nginx: str) -> None:
    """A scrape from loopback works with every nginx, with connections where it can count them; what
    came through another proxy is refused.
    """
    status, headers, body = ask(base, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"\nnginx_up 1\n" in body
    counts = "http_stub_status_module" in modules_of(nginx)
    assert (b"\nnginx_connections_active " in body) == counts
    assert ask(base, "GET", "/stub_status")[0] == (200 if counts else 404)
    for path in ("/metrics", "/stub_status"):
        assert ask(base, "GET", path, headers={"X-Forwarded-For": "10.0.0.1"})[0] == 404


def test_dot_segments_do_not_leave_the_page(base: str) -> None:
    """Files outside of dist are not served."""
    for path in ("/../nginx.conf", "/%2e%2e/nginx.conf", "/assets/../../nginx.conf"):
        assert ask(base, "GET", path)[0] in (400, 404)


def test_many_requests_at_once(base: str) -> None:
    """Forty parallel requests all get their own answer."""
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(base, "GET", "/api/das/echo")[0]))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
