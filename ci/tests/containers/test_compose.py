"""The platform in containers: the five images built, composed, fed and asked, then taken down.

Runs wherever a Docker engine answers and the base images are there; elsewhere it says why not.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
import remote_write

ROOT = Path(__file__).resolve().parents[3]
BASES = ("python:3.13-slim-trixie", "nginxinc/nginx-unprivileged:1.26", "postgres:17-trixie")
SERVICES = {"das", "dis", "aps", "ubs", "ui"}
WAIT_S = 600.0
REVISION = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = "Pa55@wo/rd:%4z?&=$x # \\z"


def docker(*words: str, timeout_s: float = 900, **environment: str) -> str:
    done = subprocess.run(
        ["docker", *words],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def why_not() -> str | None:
    """Why containers cannot be run here; None when they can."""
    if shutil.which("docker") is None:
        return "no docker command"
    for probe, reason in (
        (["version"], "no Docker engine answers"),
        (["compose", "version"], "docker has no compose plugin"),
        *((["image", "inspect", base], f"no base image {base}") for base in BASES),
    ):
        done = subprocess.run(["docker", *probe], capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            return reason
    return None


class Stack:
    """One composed platform under a project name of its own."""

    def __init__(self, folder: Path) -> None:
        self.project = f"cloudopshub-test-{secrets.token_hex(4)}"
        self.env_file = folder / "env"
        made = [sys.executable, "-m", "ci", "secrets", str(self.env_file)]
        self.env_file.write_text(
            f"COMPOSE_PROJECT_NAME={self.project}\nPOSTGRES_DIS_PASSWORD='{PASSWORD}'\n"
        )
        subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
        lines = self.env_file.read_text().splitlines()
        self.secrets = dict(line.split("=", 1) for line in lines if "=" in line)
        self.key = self.secrets["UBS_BOOTSTRAP_API_KEY"]

    def compose(self, *words: str, timeout_s: float = 900) -> str:
        return docker(
            *("compose", "--env-file", str(self.env_file)),
            *words,
            timeout_s=timeout_s,
            VERSION="test",
            UI_PORT="0",
            REVISION=REVISION,
        )

    def containers(self) -> list[dict[str, object]]:
        ids = self.compose("ps", "--all", "--quiet").split()
        return list(json.loads(docker("inspect", *ids)))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if reason := why_not():
        pytest.skip(f"containers cannot be run here: {reason}")
    running = Stack(tmp_path_factory.mktemp("compose"))
    running.compose("build")
    try:
        running.compose("up", "--detach", "--wait")
        yield running
    except AssertionError as failed:
        logs = running.compose("logs", "--tail", "20")
        raise AssertionError(f"{failed}\n{logs}") from failed
    finally:
        running.compose("down", "--volumes", "--timeout", "5")


def test_a_sample_goes_in_and_comes_out_through_nginx(stack: Stack) -> None:
    """The sample written through the one public door is read back through it."""
    door = "http://" + stack.compose("port", "frontend-dashboard", "8080").strip()
    headers = {"Authorization": f"Bearer {stack.key}"}
    now_ms = int(time.time() * 1000)
    body = remote_write.encode({"__name__": "container_probe", "job": "test"}, [(now_ms, 42.5)])
    with httpx.Client(base_url=door, headers=headers, timeout=600) as hub:
        written = hub.post("/api/dis/api/v1/write", content=body, headers=remote_write.HEADERS)
        assert written.status_code == 204, written.text
        answer = hub.get("/api/das/api/v1/query", params={"query": "container_probe"}).json()
        assert answer["data"]["result"][0]["value"][1] == "42.5"
        assert hub.get("/").status_code == 200
        assert hub.get("/api/ubs/internal/home-organisation").status_code == 404


def test_the_hub_in_containers_watches_itself(stack: Stack) -> None:
    """Before long `up` is 1 for each of the five services."""
    door = "http://" + stack.compose("port", "frontend-dashboard", "8080").strip()
    headers = {"Authorization": f"Bearer {stack.key}"}
    folders = {path.parent.name for path in ROOT.glob("*/Dockerfile")}
    deadline = time.monotonic() + WAIT_S
    up: set[str] = set()
    with httpx.Client(base_url=door, headers=headers, timeout=600) as hub:
        while not folders <= up and time.monotonic() < deadline:
            time.sleep(0.2)  # between polls, within the bound
            answer = hub.get("/api/das/api/v1/query", params={"query": "up == 1"}).json()
            up = {row["metric"]["job"] for row in answer["data"]["result"]}
    assert folders <= up


def test_a_password_of_any_characters_works_and_is_in_no_log(stack: Stack) -> None:
    """The platform is up with it, and no log has it or a piece of it."""
    logs = stack.compose("logs", "--no-color")
    assert "wo/rd" not in logs
    assert "%4z" not in logs


@pytest.mark.parametrize(
    ("user", "sql", "answer"),
    [
        ("das", "SELECT 'it ' || 'reads' FROM (SELECT count(*) FROM metrics.batch) s", "it reads"),
        ("das", "SELECT secret FROM billing.credential", "permission denied for schema billing"),
        ("aps", "SELECT secret FROM billing.credential", "permission denied for schema billing"),
        ("ubs", "SELECT 1", "password authentication failed"),
    ],
)
def test_a_password_opens_one_role(stack: Stack, user: str, sql: str, answer: str) -> None:
    """With its own password a service is itself and reaches no other's schema; with another's it is
    nobody.
    """
    password = stack.secrets[f"POSTGRES_{'DAS' if user == 'ubs' else user.upper()}_PASSWORD"]
    url = f"postgresql://cloudopshub_{user}@postgres/cloudopshub"
    script = f'psql -XAtc "{sql}" {url} 2>&1 || true'
    told = stack.compose(
        *("exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "sh", "-c", script)
    )
    assert answer in told


def test_services_that_swap_addresses_are_found_again(stack: Stack) -> None:
    """Two containers made anew in turn: both routes are right before long, and until then a
    write is told to come back, never that there is no such route.
    """
    door = "http://" + stack.compose("port", "frontend-dashboard", "8080").strip()
    headers = {"Authorization": f"Bearer {stack.key}"}
    names = ("data-api-service", "data-ingest-service")

    def addresses() -> list[str]:
        ids = [stack.compose("ps", "--quiet", name).strip() for name in names]
        return [
            next(iter(each["NetworkSettings"]["Networks"].values()))["IPAddress"]
            for each in json.loads(docker("inspect", *ids))
        ]

    before = addresses()
    stack.compose("rm", "--stop", "--force", *names)
    higher_first = sorted(zip(map(ip_address, before), names, strict=True), reverse=True)
    for _, name in higher_first:  # the lowest free address goes to the first that asks
        stack.compose("up", "--detach", "--no-deps", "--wait", name)
    assert addresses() == before[::-1]
    deadline = time.monotonic() + WAIT_S
    statuses: set[int] = set()
    with httpx.Client(base_url=door, headers=headers, timeout=600) as hub:
        while True:
            body = remote_write.encode({"__name__": "moved"}, [(int(time.time() * 1000), 1.0)])
            written = hub.post("/api/dis/api/v1/write", content=body, headers=remote_write.HEADERS)
            answer = hub.get("/api/das/api/v1/query", params={"query": "moved"})
            statuses |= {written.status_code, answer.status_code}
            if (written.status_code, answer.status_code) == (204, 200):
                break
            assert time.monotonic() < deadline, statuses
            time.sleep(0.1)  # between polls, within the bound
    assert statuses <= {200, 204, 503}


def test_only_the_dashboard_is_published_and_nothing_runs_as_root(stack: Stack) -> None:
    """One port is open to the host; every running service is unprivileged on a read-only root."""
    published = []
    for container in stack.containers():
        config, host = container["Config"], container["HostConfig"]
        assert isinstance(config, dict)
        assert isinstance(host, dict)
        published += list(host["PortBindings"] or {})
        for bindings in (host["PortBindings"] or {}).values():
            assert [each["HostIp"] for each in bindings] == ["127.0.0.1"]
        service = config["Labels"]["com.docker.compose.service"]
        if service in {"postgres", "object-store", "roles"}:  # root to begin with, or for a moment
            continue
        assert config["User"] in {"10001:10001", "101"}, service
        assert host["ReadonlyRootfs"], service
    assert published == ["8080/tcp"]


def test_every_image_says_what_it_is_and_how_it_feels(stack: Stack) -> None:
    """Each image is non-root by number, has a HEALTHCHECK and its OCI labels."""
    for code in SERVICES:
        (image,) = json.loads(docker("image", "inspect", f"cloudopshub-{code}:test"))
        config = image["Config"]
        assert config["User"].split(":")[0].isdigit()
        assert config["User"].split(":")[0] != "0"
        assert config["Healthcheck"]["Test"][0] == "CMD"
        labels = config["Labels"]
        assert labels["org.opencontainers.image.title"] == f"cloudopshub-{code}"
        assert labels["org.opencontainers.image.version"] == "test"
        assert labels["org.opencontainers.image.revision"] == REVISION
        assert stack.key not in json.dumps(config)
