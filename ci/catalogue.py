"""Reads `ci.toml` and holds it against the folders, so that the list can be believed."""

import tomllib
from pathlib import Path
from typing import Any

from ci.errors import Defect, UsageError
from ci.model import Catalogue, Service, Twin

ROOT = Path(__file__).resolve().parent.parent


def load(root: Path = ROOT) -> Catalogue:
    """The catalogue of the repository at `root`; `Defect` where it and the folders disagree."""
    catalogue = parse((root / "ci" / "ci.toml").read_text(encoding="utf-8"), root)
    if faults := disagreements(catalogue):
        raise Defect("ci/ci.toml and the folders disagree:\n  " + "\n  ".join(faults))
    return catalogue


def parse(text: str, root: Path) -> Catalogue:
    """The catalogue that the TOML `text` describes; nothing is looked up on disk."""
    data: dict[str, Any] = tomllib.loads(text)
    services = tuple(
        Service(
            folder=entry["folder"],
            code=entry["code"],
            package=entry.get("package"),
            image=entry["image"],
            port=entry["port"],
            ready=entry["ready"],
            metrics=entry["metrics"],
            migrate=entry.get("migrate"),
            kernels=entry.get("kernels"),
            processes=dict(entry["processes"]),
        )
        for entry in data["service"]
    )
    by_code = {service.code: service for service in services}
    twins = tuple(
        Twin(
            entry["path"],
            (
                *(
                    entry["path"].format(folder=by_code[code].folder, package=by_code[code].package)
                    for code in entry["in"]
                ),
                *entry.get("also", ()),
            ),
        )
        for entry in data["twin"]
    )
    allowed = frozenset(data["top_level"]["allowed"]) | {service.folder for service in services}
    return Catalogue(root, services, twins, allowed)


def disagreements(catalogue: Catalogue) -> list[str]:
    """One line for each fault: a listed folder or package missing, a folder not listed."""
    faults = []
    for service in catalogue.services:
        folder = catalogue.root / service.folder
        wanted = [folder / "pyproject.toml", folder / "requirements.txt"]
        if service.package:
            wanted.append(folder / service.package / "__init__.py")
        if service.kernels_folder:
            wanted.append(folder / service.kernels_folder / "__main__.py")
        faults += [
            f"{service.folder}: {path.relative_to(catalogue.root)} is missing"
            for path in wanted
            if not path.is_file()
        ]
    listed = {service.folder for service in catalogue.services} | {"ci"}
    faults += [
        f"{path.parent.name} has a pyproject.toml but is not listed"
        for path in sorted(catalogue.root.glob("*/pyproject.toml"))
        if path.parent.name not in listed
    ]
    for what in ("folder", "code", "image", "port"):
        values = [getattr(service, what) for service in catalogue.services]
        faults += [
            f"{what} {value!r} is listed twice"
            for value in sorted({value for value in values if values.count(value) > 1})
        ]
    return faults


def find(catalogue: Catalogue, name: str) -> Service:
    """The service whose folder or code is `name`."""
    for service in catalogue.services:
        if name in {service.folder, service.code}:
            return service
    listed = ", ".join(f"{service.folder} ({service.code})" for service in catalogue.services)
    raise UsageError(f"no service {name!r}; there are {listed}")
