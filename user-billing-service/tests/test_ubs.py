"""The service from outside, as a process: boot, probes, a happy path, refusals, the end."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import PASSWORD, SECRET_KEY, SERVICE_TOKEN, SETUP_TOKEN, is_ready, wait_until
from embedded_postgres import fresh_database

ROOT = Path(__file__).resolve().parents[1]


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LD_LIBRARY_PATH"}}
    return kept | more


def run(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def free_port():
    """A port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def process(*arguments, **env):
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as started:  # fmt: skip
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def settings(server_url):
    with fresh_database(server_url, "ubs_process") as url:
        yield {
            "DATABASE_URL": url,
            "SERVICE_TOKEN": SERVICE_TOKEN,
            "UBS_SECRET_KEY": SECRET_KEY,
            "UBS_SETUP_TOKEN": SETUP_TOKEN,
            "UBS_PLAIN_HTTP": "true",
            "UBS_BOOTSTRAP_EMAIL": "",
            "PORT": str(free_port()),
        }


def test_the_service_boots_serves_and_stops(settings):
    """Migrate, start, probe, set up, make a key, introspect it, refuse a stranger, stop."""
    assert run("user_billing.migrate", **settings).returncode == 0
    base_url = f"http://127.0.0.1:{settings['PORT']}"
    with process("user_billing", **settings) as started:
        wait_until(lambda: is_ready(base_url))
        assert httpx.get(f"{base_url}/health", timeout=600).json() == {"status": "ok"}
        checks = httpx.get(f"{base_url}/ready", timeout=600).json()["checks"]
        assert set(checks) == {"postgres", "first_start"}
        with httpx.Client(base_url=base_url, headers={"Origin": base_url}, timeout=600) as page:
            form = {
                "token": SETUP_TOKEN, "email": "me@example.org", "password": PASSWORD,
                "organisation": "Home",
            }  # fmt: skip
            made = page.post("/api/v1/setup", json=form)
            assert made.status_code == 201
            csrf = {"X-CSRF-Token": made.json()["csrf_token"]}
            body = {"name": "agent", "scopes": ["metrics:write"]}
            key = page.post("/api/v1/keys", json=body, headers=csrf).json()["key"]
        internal = {"Authorization": f"Bearer {SERVICE_TOKEN}"}
        known = httpx.post(
            f"{base_url}/internal/introspect", json={"key": key}, headers=internal, timeout=600
        )
        assert known.json()["active"]
        assert httpx.get(f"{base_url}/api/v1/keys", timeout=600).status_code == 401
        metrics = httpx.get(f"{base_url}/metrics", timeout=600).text
        assert 'cloudopshub_billing_introspections_total{outcome="active"} 1.0' in metrics
        assert "cloudopshub_http_requests_total" in metrics
        started.send_signal(signal.SIGTERM)
        output, _ = started.communicate(timeout=600)
        assert started.returncode in {0, -signal.SIGTERM}, output  # uvicorn re-raises the signal
        assert "Application shutdown complete" in output
        for secret in (SERVICE_TOKEN, SECRET_KEY, SETUP_TOKEN, PASSWORD, key):
            assert secret not in output


def test_the_app_can_be_served_by_uvicorn_directly(settings):
    """`python -m uvicorn user_billing.main:app` is the same service."""
    with process(
        "uvicorn", "user_billing.main:app", "--port", settings["PORT"], **settings
    ) as started:
        base_url = f"http://127.0.0.1:{settings['PORT']}"
        wait_until(lambda: started.poll() is not None or answers(base_url))
        assert httpx.get(f"{base_url}/ready", timeout=600).status_code == 503


def test_a_body_too_large_is_answered_while_it_arrives(settings):
    """The 413 reaches a sender that is still sending, and the connection serves the next request:
    nginx would call a connection that breaks a service that does not answer.
    """
    port = int(settings["PORT"])
    head = b"POST /api/v1/login HTTP/1.1\r\nHost: ubs\r\nContent-Length: 8000000\r\n\r\n"
    with process("user_billing", **settings) as started:
        base_url = f"http://127.0.0.1:{port}"
        wait_until(lambda: started.poll() is not None or answers(base_url))
        with socket.create_connection(("127.0.0.1", port), timeout=600) as sender:
            sender.sendall(head + bytes(100_000))
            assert sender.recv(12) == b"HTTP/1.1 413"
            sender.sendall(bytes(8_000_000 - 100_000))
            sender.sendall(b"GET /health HTTP/1.1\r\nHost: ubs\r\nConnection: close\r\n\r\n")
            rest = b"".join(iter(lambda: sender.recv(65536), b""))
    assert b"HTTP/1.1 200" in rest


def answers(base_url):
    try:
        return httpx.get(f"{base_url}/health", timeout=600).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ({"SERVICE_TOKEN": ""}, "SERVICE_TOKEN is missing"),
        ({"UBS_SECRET_KEY": ""}, "UBS_SECRET_KEY is missing"),
        ({"UBS_SECRET_KEY": "too-short-secret"}, "UBS_SECRET_KEY"),
        ({"UBS_BOOTSTRAP_EMAIL": "a@b.org"}, "UBS_BOOTSTRAP_PASSWORD"),
        ({"UBS_BOOTSTRAP_API_KEY": "coh_live_x"}, "UBS_BOOTSTRAP_API_KEY"),
        ({"PORT": "http"}, "PORT"),
    ],
)
def test_a_missing_or_wrong_setting_stops_the_start_by_name(change, named):
    """One line on stderr names the variable, and never repeats a secret's value."""
    good = {
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/x",
        "SERVICE_TOKEN": SERVICE_TOKEN,
        "UBS_SECRET_KEY": SECRET_KEY,
    }
    done = run("user_billing", **{**good, **change})
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert "too-short-secret" not in done.stderr


def test_a_migration_without_a_database_says_so():
    """No server: one line, exit 1."""
    done = run("user_billing.migrate", DATABASE_URL="postgresql://u@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "cannot migrate" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter%002@127.0.0.1:1/x",
        "postgresql://u@127.0.0.1:1/x?hunter2",
        "postgresql://u@127.0.0.1:1/x?password=hunter2&x",
        "postgresql://u:hunter2@127.0.0.1:1/x?unheard_of=1",
        "postgresql://u:hunter2@127.0.0.1:1/x?sslmode=unheard_of",
        "host=127.0.0.1 password=hunter2",
    ],
)
def test_a_migration_never_prints_a_malformed_url(url):
    """One line, without a piece of the password, whatever is wrong with DATABASE_URL."""
    done = run("user_billing.migrate", DATABASE_URL=url)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hunter" not in done.stderr + done.stdout
