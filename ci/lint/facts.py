"""What must hold of the files themselves; each function gives one line for each fault. Pure."""

import re
from collections.abc import Iterable, Mapping

from ci.model import Catalogue, Twin

ADDRESS = re.compile(
    r"^\s*(?:-i\b|-f\b|--(?:extra-)?index-url|--find-links)|://|\bfile:", re.MULTILINE
)
PIN = re.compile(r"^(?!#|\s|$)(?P<name>[A-Za-z0-9._\[\],-]+)\s*(?P<rest>.*)$", re.MULTILINE)


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
        faults += [
            f"{place} differs from its twin {like}"
            for place, content in places.items()
            if content != usual
        ]
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
    top = {path.split("/", 1)[0] for path in paths}
    wanted = []
    for service in catalogue.services:
        names = ["Dockerfile", ".dockerignore", "README.md", "pyproject.toml"]
        names += ["requirements.txt", "requirements-dev.txt"]
        if service.package:
            names.append(f"tests/test_{service.code}.py")
        wanted += [f"{service.folder}/{name}" for name in names]
    return [
        *(
            f"{name}: not among the names of the top level (ci/ci.toml)"
            for name in sorted(top - catalogue.top_level)
        ),
        *(f"{path} is missing" for path in wanted if path not in paths),
    ]
