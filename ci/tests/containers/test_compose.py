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
from pathlib import Path

import httpx
import pytest
import remote_write

ROOT = Path(__file__).resolve().parents[3]
BASES = ("python:3.13-slim-trixie", "nginxinc/nginx-unprivileged:1.26", "postgres:17-trixie")
SERVICES = {"das", "dis", "aps", "ubs", "ui"}
WAIT_S = 30.0


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
        subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
        lines = self.env_file.read_text().splitlines()
        self.key = dict(line.split("=", 1) for line in lines if "=" in line)[
            "UBS_BOOTSTRAP_API_KEY"
        ]

    def compose(self, *words: str, timeout_s: float = 900) -> str:
        return docker(
            *("compose", "--project-name", self.project, "--env-file", str(self.env_file)),
            *words,
            timeout_s=timeout_s,
            VERSION="test",
            UI_PORT="127.0.0.1:0",
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
    with httpx.Client(base_url=door, headers=headers, timeout=30) as hub:
        written = hub.post("/api/dis/api/v1/write", content=body, headers=remote_write.HEADERS)
        assert written.status_code == 204, written.text
        answer = hub.get("/api/das/api/v1/query", params={"query": "container_probe"}).json()
        assert answer["data"]["result"][0]["value"][1] == "42.5"
        assert hub.get("/").status_code == 200
        assert hub.get("/api/ubs/internal/home-organisation").status_code == 404


def test_the_hub_in_containers_watches_itself(stack: Stack) -> None:
    """Within half a minute `up` is 1 for each of the five services."""
    door = "http://" + stack.compose("port", "frontend-dashboard", "8080").strip()
    headers = {"Authorization": f"Bearer {stack.key}"}
    folders = {path.parent.name for path in ROOT.glob("*/Dockerfile")}
    deadline = time.monotonic() + WAIT_S
    up: set[str] = set()
    with httpx.Client(base_url=door, headers=headers, timeout=30) as hub:
        while not folders <= up and time.monotonic() < deadline:
            time.sleep(0.2)  # between polls, within the bound
            answer = hub.get("/api/das/api/v1/query", params={"query": "up == 1"}).json()
            up = {row["metric"]["job"] for row in answer["data"]["result"]}
    assert folders <= up


def test_only_the_dashboard_is_published_and_nothing_runs_as_root(stack: Stack) -> None:
    """One port is open to the host; every running service is unprivileged on a read-only root."""
    published = []
    for container in stack.containers():
        config, host = container["Config"], container["HostConfig"]
        assert isinstance(config, dict)
        assert isinstance(host, dict)
        published += list(host["PortBindings"] or {})
        service = config["Labels"]["com.docker.compose.service"]
        if service in {"postgres", "object-store"}:  # both begin as root to own their volumes
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
        assert stack.key not in json.dumps(config)
