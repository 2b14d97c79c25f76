"""Reads `ci.toml` and holds it against the folders, so that the list can be believed."""

import tomllib
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from ci.errors import Defect, UsageError
from ci.model import Catalogue, Service, Twin

ROOT = Path(__file__).resolve().parent.parent


def load(root: Path = ROOT) -> Catalogue:
    """The catalogue of the repository at `root`; `Defect` where it and the folders disagree."""
    try:
        catalogue = parse((root / "ci" / "ci.toml").read_text(encoding="utf-8"), root)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as exc:
        raise Defect(f"ci/ci.toml is no TOML, or lacks a key: {exc}") from exc
    if faults := disagreements(catalogue):
        raise Defect("ci/ci.toml and the folders disagree:\n  " + "\n  ".join(faults))
    return catalogue


def parse(text: str, root: Path) -> Catalogue:
    """The catalogue that the TOML `text` describes; nothing is looked up on disk.

    What else a [[service]] may hold is `config`'s to read, and to refuse.
    """
    data: dict[str, Any] = tomllib.loads(text)
    keys = {key.name for key in fields(Service)}
    services = tuple(
        Service(**{key: value for key, value in entry.items() if key in keys})
        for entry in data["service"]
    )
    by_code = {service.code: vars(service) for service in services}
    twins = []
    for entry in data["twin"]:
        paths = [entry["path"].format_map(by_code[code]) for code in entry["in"]]
        twins.append(Twin(entry["path"], (*paths, *entry.get("also", ()))))
    allowed = frozenset(data["top_level"]["allowed"]) | {service.folder for service in services}
    return Catalogue(root, services, tuple(twins), allowed)


def disagreements(catalogue: Catalogue) -> list[str]:
    """One line for each fault: a listed folder or package missing, a folder not listed."""
    faults, services = [], catalogue.services
    for service in services:
        wanted = ["pyproject.toml", "requirements.txt"]
        if service.package:
            wanted.append(f"{service.package}/__init__.py")
        if service.kernels_folder:
            wanted.append(f"{service.kernels_folder}/__main__.py")
        paths = [f"{service.folder}/{path}" for path in wanted]
        missing = [path for path in paths if not (catalogue.root / path).is_file()]
        faults += [f"{service.folder}: {path} is missing" for path in missing]
    there = sorted(path.parent.name for path in catalogue.root.glob("*/pyproject.toml"))
    listed = {service.folder for service in services} | {"ci"}
    faults += [f"{n} has a pyproject.toml but is not listed" for n in there if n not in listed]
    for what in ("folder", "code", "image", "port"):
        values = Counter(getattr(service, what) for service in services)
        faults += [f"{what} {value!r} is listed twice" for value in values if values[value] > 1]
    return faults


def find(catalogue: Catalogue, name: str) -> Service:
    """The service whose folder or code is `name`."""
    for service in catalogue.services:
        if name in {service.folder, service.code}:
            return service
    listed = ", ".join(f"{service.folder} ({service.code})" for service in catalogue.services)
    raise UsageError(f"no service {name!r}; there are {listed}")
