"""An image built again of the same commit, by another checkout, is the same byte for byte.

ui and ubs stand for all: one is the page on nginx, the other the recipe of the Python services;
das, dis and aps have their compiled kernels beside it, and take minutes.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_platform import why_no_docker

from ci import catalogue
from ci.build import ImageBuild
from ci.plan.facts import BuildFacts

ROOT = Path(__file__).resolve().parents[3]
BASES = ("python:3.13-slim-trixie", "nginxinc/nginx-unprivileged:1.26")
FACTS = BuildFacts(
    commit="0" * 40, committed_at=datetime(2026, 5, 1, 12, 30, tzinfo=UTC), dirty=False
)
NAME = "cloudopshub-again"


def why_not() -> str | None:
    if reason := why_no_docker():
        return reason
    for base in BASES:
        if docker("image", "inspect", base).returncode != 0:
            return f"no base image {base}"
    return None


def docker(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = ["docker", *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture
def names() -> Iterator[list[str]]:
    made = [f"{NAME}:{secrets.token_hex(4)}-{time}" for time in ("before", "one", "two")]
    yield made
    docker("rmi", "--force", *made)


def checked_out(folder: str, root: Path, umask: int, mtime: int) -> None:
    """The tracked files of the folder, as a checkout of that moment under that umask has them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        target.chmod(0o666 & ~umask)
        os.utime(target, (mtime, mtime))
    for directory in [root / folder, *(root / folder).rglob("*/")]:
        directory.chmod(0o777 & ~umask)


def built(
    name: str, code: str, root: Path, *options: str, facts: BuildFacts = FACTS
) -> dict[str, Any]:
    service = catalogue.load(ROOT).service(code)
    argv = ImageBuild(service, name, "the-same", facts, 8000).argv()
    done = docker("build", *options, *argv[2:], cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(docker("image", "inspect", name).stdout)[0]
    return found


@pytest.mark.parametrize("code", ["ui", "ubs"])
def test_built_again_it_is_the_same_image(code: str, names: list[str], tmp_path: Path) -> None:
    """Neither the clock, the checkout's times and umask, a hash seed, nor what the engine kept of
    an earlier commit is in it.
    """
    folder = catalogue.load(ROOT).service(code).folder
    checked_out(folder, tmp_path / "one", 0o022, 1_700_000_000)
    checked_out(folder, tmp_path / "two", 0o077, 1_800_000_000)
    earlier = replace(FACTS, committed_at=FACTS.committed_at - timedelta(days=9))
    built(names[0], code, tmp_path / "one", "--no-cache", facts=earlier)
    one = built(names[1], code, tmp_path / "one")
    two = built(names[2], code, tmp_path / "two", "--no-cache")
    assert one["RootFS"]["Layers"] == two["RootFS"]["Layers"]
    assert one["Id"] == two["Id"]
    assert one["Created"].startswith("2026-05-01T12:30:00")
