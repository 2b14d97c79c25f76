"""What must hold of the files themselves; each function gives one line for each fault. Pure."""

import re
from collections.abc import Iterable, Mapping

from ci.model import Catalogue, Twin

ADDRESS = re.compile(
    r"^\s*(?:-i\b|-f\b|--(?:extra-)?index-url|--find-links)|://|\bfile:", re.MULTILINE
)
PIN = re.compile(r"^(?!#|\s|$)(?P<name>[A-Za-z0-9._\[\],-]+)\s*(?P<rest>.*)$", re.MULTILINE)


def twin_faults(twin: Twin, contents: Mapping[str, bytes | None]) -> list[str]:
    """Places where the twin is missing, or differs from what most places hold."""
    there = {path: content for path in twin.paths if (content := contents.get(path)) is not None}
    faults = [
        f"{path} is missing (a twin of {twin.name})" for path in twin.paths if path not in there
    ]
    if len(set(there.values())) > 1:
        versions = list(there.values())
        usual = max(versions, key=versions.count)
        like = next(path for path, content in there.items() if content == usual)
        faults += [
            f"{path} differs from its twin {like}"
            for path, content in there.items()
            if content != usual
        ]
    return faults


def folder_faults(twin: Twin, files: Mapping[str, Mapping[str, bytes]]) -> list[str]:
    """Faults of a twin that is a folder: its files differ, or one service alone has a file.

    files: for each of the twin's folders its files, by their path within it.
    """
    faults = [f"{folder} is missing (a twin)" for folder in twin.paths if not files.get(folder)]
    for name in sorted({name for folder in files.values() for name in folder}):
        places = {f"{path}{name}": texts[name] for path, texts in files.items() if name in texts}
        faults += twin_faults(Twin(name, tuple(places)), places)
        if len(places) == 1:
            faults.append(f"{next(iter(places))} has no twin: what one service needs is its own")
    return faults


def lock_faults(path: str, text: str) -> list[str]:
    """Addresses in a lock, pins that are not exact, pins without a hash, or nothing at all."""
    faults = [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: an address has no place in a lock"
        for match in ADDRESS.finditer(text)
    ]
    joined = text.replace("\\\n", " ")
    for match in PIN.finditer(joined):
        if not match["rest"].startswith("=="):
            faults.append(f"{path}: {match['name']} is not pinned to one version")
        elif "--hash=sha256:" not in match["rest"]:
            faults.append(f"{path}: {match['name']} has no hash")
    return faults


def tree_faults(catalogue: Catalogue, tracked: Iterable[str]) -> list[str]:
    """Top-level names that nobody listed, and services without what every service has."""
    paths = set(tracked)
    top = {path.split("/", 1)[0] for path in paths}
    faults = [
        f"{name}: not among the names of the top level (ci/ci.toml)"
        for name in sorted(top - catalogue.top_level)
    ]
    for service in catalogue.services:
        wanted = ["Dockerfile", ".dockerignore", "README.md", "pyproject.toml"]
        wanted += ["requirements.txt", "requirements-dev.txt"]
        if service.package:
            wanted.append(f"tests/test_{service.code}.py")
        faults += [
            f"{service.folder}/{name} is missing"
            for name in wanted
            if f"{service.folder}/{name}" not in paths
        ]
    return faults
