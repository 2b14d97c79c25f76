"""A repository like this one, with two tiny services, a build server's variables and a clock."""

import io
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from listed_services import DELIVERY, entries
from plain_git import git

from ci import catalogue, config
from ci.config import Delivery
from ci.context import Context, from_environment
from ci.screen import Screen

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = """\
FROM scratch
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="{name}" \\
      org.opencontainers.image.description="{name}, tiny" \\
      org.opencontainers.image.version="${{VERSION}}" \\
      org.opencontainers.image.revision="${{REVISION}}" \\
      org.opencontainers.image.created="${{CREATED}}" \\
      org.opencontainers.image.source="${{SOURCE}}"
COPY content /content
USER 10001
EXPOSE 8080
HEALTHCHECK CMD ["/content"]
CMD ["/content"]
"""
CODES = ("one", "two")


@dataclass
class SmallPlatform:
    """The repository at `root`, as a build server sees it."""

    root: Path
    environ: dict[str, str]

    @classmethod
    def make(cls, root: Path, environ: Mapping[str, str], codes=CODES) -> "SmallPlatform":
        files = {
            "ci/ci.toml": "twin = []\n" + entries(codes) + DELIVERY,
            ".gitignore": ".cache/\n",
        }
        for name in codes:
            files[f"{name}-service/pyproject.toml"] = ""
            files[f"{name}-service/requirements.txt"] = ""
            files[f"{name}-service/content"] = f"{name} {root}\n"
            files[f"{name}-service/Dockerfile"] = SCRATCH.format(name=name)
        given = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", str(root)),
            "BRANCH_NAME": "main",
            "BUILD_NUMBER": "118",
            "JOB_NAME": "hub/main",
            **{k: v for k, v in os.environ.items() if k.startswith("DOCKER_")},
            **environ,
        }
        root.mkdir(parents=True, exist_ok=True)
        made = cls(root, given)
        made.git("init", "--quiet", "--initial-branch=main")
        made.commit(files)
        return made

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    def commit(self, files: Mapping[str, str]) -> str:
        for path, content in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(content, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def context(self, *, dry_run: bool = False, **environ: str) -> Context:
        listed = catalogue.load(self.root)
        given = {**self.environ, **environ}
        return Context(
            catalogue=listed,
            settings=from_environment(listed, given),
            environ=given,
            screen=Screen(stream=io.StringIO(), colour=False),
            dry_run=dry_run,
            now=lambda: datetime.now(UTC),
        )

    def delivery(self, **environ: str) -> Delivery:
        return config.load(catalogue.load(self.root), {**self.environ, **environ})


def why_no_registry() -> str | None:
    """Why an ECR-shaped door cannot be opened here; None when it can."""
    if shutil.which("docker-registry") is None:
        return "docker-registry is not installed (Debian: apt install docker-registry)"
    return None


def why_no_docker() -> str | None:
    """Why no image can be built here; None when one can."""
    if shutil.which("docker") is None:
        return "no docker command"
    done = subprocess.run(["docker", "version"], capture_output=True, timeout=60, check=False)
    return None if done.returncode == 0 else "no Docker engine answers"
