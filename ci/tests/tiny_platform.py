"""The platform in miniature: the real Jenkinsfile, Makefile and `ci`, five services of one file.

Folders, codes, images and ports are ci.toml's, so every file that names them stays as it is. What
would take minutes is not there: dependencies, twins, kernels, migrations, most type checking. All
environments are one, which looks into ci's own and cannot change it: nothing is installed.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from listed_services import configured

from ci import catalogue, environments

ROOT = Path(__file__).resolve().parents[2]
IGNORED = (".venv", ".cache", "__pycache__", ".mypy_cache", ".ruff_cache", ".import_linter_cache")
COPIED = ("Jenkinsfile", "Makefile")
SERVER = '''\
"""Answers its probes, and ends when it is asked to."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Probe(BaseHTTPRequestHandler):
    """Healthy, always."""

    def do_GET(self) -> None:
        """Say so."""
        self.send_response(200)
        self.end_headers()


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    HTTPServer(("", 8080), Probe).serve_forever()


if __name__ == "__main__":
    main()
'''
DOCKERFILE = """\
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${{PYTHON_IMAGE}}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="{image}" \\
      org.opencontainers.image.description="{folder}, tiny" \\
      org.opencontainers.image.version="${{VERSION}}" \\
      org.opencontainers.image.revision="${{REVISION}}" \\
      org.opencontainers.image.created="${{CREATED}}" \\
      org.opencontainers.image.source="${{SOURCE}}"
COPY serve.py /serve.py
USER 10001:10001
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health')"]
CMD ["python", "/serve.py"]
"""
TEST = '''\
"""The service is a file that compiles."""

from pathlib import Path


def test_it_compiles():
    """No more is asked of it."""
    file = Path(__file__).parents[2] / "{module}"
    compile(file.read_text(), str(file), "exec")
'''
PROJECT = """\
[tool.pytest.ini_options]
addopts = "--import-mode=importlib"

[tool.mypy]
files = ["serve.py"]
"""


def why_not() -> str | None:
    """Why the miniature cannot be made here; None when it can."""
    if Path(sys.prefix).resolve() != (ROOT / "ci" / ".venv").resolve():
        return "these tests are not run by ci/.venv"
    if environments.wanted_lock(ROOT / "ci", environments.DEV) is not None:
        return "ci/.venv is not of the present lock; `make ci` makes it so"
    return None


def make(root: Path) -> Path:
    """A repository at `root` with one commit; the folder itself."""
    services = catalogue.load(ROOT).services
    for name in COPIED:
        _copy(name, root)
    for path in _git(ROOT, "ls-files", "--cached", "-z", "ci").split("\0"):
        used = path.startswith("ci/tests/lab/") or not path.startswith("ci/tests/")
        if path and used and (ROOT / path).is_file():
            _copy(path, root)
    project = (ROOT / "ci" / "pyproject.toml").read_text(encoding="utf-8")
    skipping = 'follow_imports = "skip"\nexclude = ["^ci/[a-z]", "^ci/__main__"]'
    files = {
        "ci/ci.toml": configured(services),
        "ci/pyproject.toml": re.sub(
            r'(?m)^exclude = \["\^ci/tests.*$', lambda _: skipping, project
        ),
        ".ruff.toml": 'extend-exclude = ["ci"]\n',
        "ci/tests/unit/test_itself.py": TEST.format(module="cli.py"),
        ".gitignore": "".join(f"{name}\n" for name in IGNORED),
    }
    for s in services:
        files |= {
            f"{s.folder}/pyproject.toml": PROJECT,
            f"{s.folder}/.dockerignore": "*\n!serve.py\n",
            f"{s.folder}/README.md": f"# {s.folder}, tiny\n",
            f"{s.folder}/serve.py": SERVER,
            f"{s.folder}/Dockerfile": DOCKERFILE.format(image=s.image, folder=s.folder),
            f"{s.folder}/tests/unit/test_serve.py": TEST.format(module="serve.py"),
        }
        for lock in (environments.RUNTIME, environments.DEV):
            _copy(f"ci/{lock}", root, f"{s.folder}/{lock}")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    link_environments(root)
    _git(root, "init", "--quiet", "--initial-branch=main", "--template=")
    commit(root)
    return root


def link_environments(root: Path) -> None:
    """Every folder of the repository at `root` has an environment with what ci's own holds.

    One environment of its own, never a link to ci's: what clears it clears nothing else.
    """
    own, made = ROOT / "ci" / ".venv", root / "ci" / ".venv"
    venv.create(made, with_pip=False, symlinks=True)
    (packages,) = made.glob("lib/python3*/site-packages")
    looks_at = sysconfig.get_path("purelib")
    (packages / "own.pth").write_text(f"import site; site.addsitedir({looks_at!r})\n")
    for program in (own / "bin").iterdir():
        if not (made / "bin" / program.name).exists():
            (made / "bin" / program.name).symlink_to(program)
    shutil.copy(own / environments.STAMP, made)
    for service in catalogue.load(ROOT).services:
        (root / service.folder).mkdir(parents=True, exist_ok=True)
        (root / service.folder / ".venv").symlink_to(made)


def commit(root: Path, message: str = "a change") -> None:
    """All there is at `root` is committed."""
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "-m", message)


def _copy(name: str, root: Path, target: str | None = None) -> None:
    into = root / (target or name)
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, into)


def _git(folder: Path, *argv: str) -> str:
    named = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    done = subprocess.run(
        ["git", *named, "-c", "commit.gpgsign=false", *argv],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
