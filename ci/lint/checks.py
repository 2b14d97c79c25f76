"""What must hold of the repository: of its files, found here, and what its tools say."""

import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ci import config, environments, process
from ci.lint import advisories
from ci.model import Catalogue, Twin
from ci.scan import findings

FILES_ONLY = {"twins", "locks", "tree"}  # need no environment
LAYERS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
ADDRESS = re.compile(
    r"^\s*(?:-i\b|-f\b|--(?:extra-)?index-url|--find-links)|://|\bfile:", re.MULTILINE
)
PIN = re.compile(r"^(?!#|\s|$)(?P<name>[A-Za-z0-9._\[\],-]+)\s*(?P<rest>.*)$", re.MULTILINE)

Check = Callable[[], Sequence[str]] | tuple[Path, Sequence[str]]
"""What finds faults, or a folder and the command that succeeds there when nothing is wrong."""


def tool(name: str) -> str:
    """The program `name` of ci's own environment."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def all_checks(catalogue: Catalogue, environ: Mapping[str, str]) -> dict[str, Check]:
    """Every check by its name, the fast ones first."""
    root, settings = catalogue.root, "ci/pyproject.toml"
    dockerfiles = [str(path) for path in sorted(root.glob("*/Dockerfile"))]
    checks: dict[str, Check] = {
        "twins": lambda: [fault for twin in catalogue.twins for fault in _twin(root, twin)],
        "locks": lambda: _locks(root),
        "tree": lambda: _tree(catalogue),
        "ruff": (root, [tool("ruff"), "check", "--quiet", "."]),
        "format": (root, [tool("ruff"), "format", "--check", "--quiet", "."]),
        "hadolint": (root, [tool("hadolint"), *dockerfiles]),
        "advisories": lambda: _advisories(catalogue, environ),
        "mypy ci": (root, [sys.executable, "-m", "mypy", "--config-file", settings, "ci"]),
        "layers ci": (root, [tool("lint-imports"), "--config", settings]),
    }
    for service in catalogue.services:
        code, folder = service.code, root / service.folder
        python = str(environments.python_of(folder))
        configured = tomllib.loads((folder / "pyproject.toml").read_text()).get("tool", {})
        if (folder / ".oxlintrc.json").exists():  # a page: JS, and the format of its CSS too
            ox = str(Path(python).parent / "ox")
            checks[f"js {code}"] = (folder, [f"{ox}lint", "--quiet", "src", "tests"])
            checks[f"js-format {code}"] = (folder, [f"{ox}fmt", "--check", "src", "tests"])
        if "importlinter" in configured:
            checks[f"layers {code}"] = (folder, [python, "-c", LAYERS])
        is_named = "files" in configured.get("mypy", {})
        targets = [] if is_named or not service.package else [service.package]
        checks[f"mypy {code}"] = (folder, [python, "-m", "mypy", *targets])
    return checks


def _twin(root: Path, twin: Twin) -> list[str]:
    return twin_faults(twin, {path: _contents(root / path) for path in twin.paths})


def _contents(place: Path) -> dict[str, bytes]:
    """The files below a folder, without caches; or the file itself, called ""."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _locks(root: Path) -> list[str]:
    faults = []
    for path in sorted(root.glob("*/requirements*.txt")):
        faults += lock_faults(str(path.relative_to(root)), path.read_text())
    return faults


def _advisories(catalogue: Catalogue, environ: Mapping[str, str]) -> list[str]:
    root = catalogue.root
    locks = [f"{service.folder}/requirements.txt" for service in catalogue.services]
    file = root / config.load(catalogue, environ).scan.waivers
    waivers = findings.waivers(file.read_bytes() if file.exists() else b"", file.name)
    texts = {lock: (root / lock).read_text() for lock in locks}
    return advisories.faults(texts, waivers, datetime.now(UTC).date())


def _tree(catalogue: Catalogue) -> list[str]:
    done = process.run(["git", "ls-files", "--cached", "-z"], cwd=catalogue.root)
    if done.code != 0:
        return [done.text]
    return tree_faults(catalogue, [path for path in done.stdout.split("\0") if path])


def twin_faults(twin: Twin, files: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """Places where the twin is missing, differs from what most hold, or stands alone in a folder.

    files: by each path of the twin, its files by their path within it; a file that is no folder has
    one, called "".
    """
    faults = [f"{path} is missing (a twin)" for path in twin.paths if not files.get(path)]
    for name in sorted({name for contents in files.values() for name in contents}):
        places = {f"{path}{name}": texts[name] for path, texts in files.items() if name in texts}
        versions = list(places.values())
        usual = max(versions, key=versions.count)
        like = next(place for place, content in places.items() if content == usual)
        different = [place for place, content in places.items() if content != usual]
        faults += [f"{place} differs from its twin {like}" for place in different]
        if name and len(places) == 1:
            faults.append(f"{like} has no twin: what one service needs is its own")
    return faults


def lock_faults(path: str, text: str) -> list[str]:
    """Addresses in a lock, pins that are not exact, and pins without a hash."""
    faults = [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: an address has no place in a lock"
        for match in ADDRESS.finditer(text)
    ]
    for match in PIN.finditer(text.replace("\\\n", " ")):
        if not match["rest"].startswith("=="):
            faults.append(f"{path}: {match['name']} is not pinned to one version")
        elif "--hash=sha256:" not in match["rest"]:
            faults.append(f"{path}: {match['name']} has no hash")
    return faults


def tree_faults(catalogue: Catalogue, tracked: Iterable[str]) -> list[str]:
    """Top-level names that nobody listed, and services without what every service has."""
    paths = set(tracked)
    strange = sorted({path.split("/", 1)[0] for path in paths} - catalogue.top_level)
    faults = [f"{name}: not among the names of the top level (ci/ci.toml)" for name in strange]
    for service in catalogue.services:
        names = ["Dockerfile", ".dockerignore", "README.md", "pyproject.toml"]
        names += ["requirements.txt", "requirements-dev.txt"]
        if service.package:
            names.append(f"tests/test_{service.code}.py")
        wanted = [f"{service.folder}/{name}" for name in names]
        faults += [f"{path} is missing" for path in wanted if path not in paths]
    return faults
