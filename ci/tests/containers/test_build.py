"""An image, built and proven as `ci build` does it: a good one passes, each bad one is found."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_platform import SCRATCH, SmallPlatform, why_no_docker

from ci import build as building
from ci.errors import Defect

BASE = "python:3.13-slim-trixie"
SERVER = """\
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
{start}
HTTPServer(("0.0.0.0", 8080), Answer).serve_forever()
"""


def why_not() -> str | None:
    if reason := why_no_docker():
        return reason
    found = subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False)
    return None if found.returncode == 0 else f"no base image {BASE}"


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def dockerfile(**change: str) -> str:
    lines = SCRATCH.format(name="one").replace("FROM scratch", f"FROM {BASE}")
    lines = lines.replace('CMD ["/content"]', 'CMD ["python", "/content"]')
    for old, new in change.items():
        assert old in lines
        lines = lines.replace(old, new)
    return lines


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SmallPlatform]:
    made = SmallPlatform.make(tmp_path / "hub", {"ECR_REGISTRY": ""}, codes=("one",))
    yield made
    names = f"--filter=reference=cloudopshub-one:118-{made.git('rev-parse', 'HEAD')[:8]}"
    ids = subprocess.run(["docker", "images", "--quiet", names], capture_output=True, check=True)
    for image_id in ids.stdout.decode().split():
        subprocess.run(["docker", "rmi", "--force", image_id], capture_output=True, check=False)


def built(platform: SmallPlatform, docker_file: str, start: str = "") -> str:
    platform.commit(
        {
            "one-service/Dockerfile": docker_file,
            "one-service/content": SERVER.format(start=start),
        }
    )
    context = platform.context()
    return building.main(context, platform.delivery(), context.catalogue.services).text


def containers(platform: SmallPlatform) -> str:
    tag = platform.git("rev-parse", "HEAD")[:8]
    given = ["docker", "ps", "--all", "--quiet", f"--filter=ancestor=cloudopshub-one:118-{tag}"]
    return subprocess.run(given, capture_output=True, check=True).stdout.decode()


def test_a_good_image_is_built_proven_and_listed(platform: SmallPlatform) -> None:
    """It answers as nobody on a read-only root; its packages are in the SBOM; nothing is left."""
    told = built(platform, dockerfile())
    assert told.startswith("one: cloudopshub-one:118-")
    sbom = json.loads((platform.root / ".cache/ci/sbom/one.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert {"pip", "libc6"} <= {component["name"] for component in sbom["components"]}
    assert sbom["metadata"]["component"]["name"] == "one-service"
    assert containers(platform) == ""


def test_a_dry_run_prints_the_command_lines_and_builds_nothing(platform: SmallPlatform) -> None:
    """What would run is told word by word; no image is made, no file written."""
    context = platform.context(dry_run=True)
    told = building.main(context, platform.delivery(), context.catalogue.services).text
    assert "would run: docker build --provenance=false" in told
    assert "would run: docker run --detach --pull=never --read-only --cap-drop=ALL" in told
    assert not (platform.root / ".cache").exists()


@pytest.mark.parametrize(
    ("docker_file", "start", "told"),
    [
        (dockerfile(**{"USER 10001\n": ""}), "", "no USER"),
        (dockerfile(**{"EXPOSE 8080": "EXPOSE 9090"}), "", "exposes 9090/tcp"),
        (dockerfile(**{'["python", "/content"]': "python /content"}), "", "through a shell"),
        (dockerfile(**{"COPY content": "COPY nothing"}), "", "cannot be built"),
        (dockerfile(), "sys.exit('no settings')", "it ended\nno settings"),
        (dockerfile(), "open('/here', 'w')", "Read-only file system"),
        (dockerfile(), "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "did not end within"),
    ],
    ids=["root", "port", "shell form", "no build", "ends", "writes", "ignores SIGTERM"],
)
def test_each_bad_image_is_found(
    platform: SmallPlatform, docker_file: str, start: str, told: str, monkeypatch
) -> None:
    """By the build, the rules or the smoke run; and its container is gone."""
    monkeypatch.setattr(building, "STOP_S", 1)
    with pytest.raises(Defect, match=told):
        built(platform, docker_file, start)
    assert containers(platform) == ""
