"""Renders a manifest repository for every service and environment, and holds the result to rules.

    values ─▶ helm lint --strict ─▶ helm template ─▶ schemas of Kubernetes, two versions
                                                  └▶ shapes of Argo CD's and others' kinds

Not covered: what a live cluster would add (admission, quotas, whether an image can be pulled), and
custom resources beyond the small list in `shape.py`, which are counted and told.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ci.config import Delivery, Render, fill
from ci.errors import Refused
from ci.model import Catalogue, Service
from ci.scaffold import shape
from ci.tools import schemas
from ci.tools.helm import Helm, values_files
from ci.tools.kube_yaml import Object, parse

OLDEST = "1.30"


@dataclass
class Inspection:
    """What was found. by_schema: one for each object and version; unknown: kinds nobody checked."""

    faults: list[str] = field(default_factory=list)
    rendered: int = 0
    by_schema: int = 0
    by_shape: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    versions: tuple[str, ...] = ()

    def told(self) -> str:
        """The figures in a sentence."""
        text = (
            f"{self.rendered} objects rendered; {self.by_schema} checks against Kubernetes "
            f"{' and '.join(self.versions)}; {self.by_shape} custom resources by shape"
        )
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.unknown.items()))
        return f"{text}; unchecked: {kinds}" if kinds else text


def validate(folder: Path, delivery: Delivery, catalogue: Catalogue, helm: Helm) -> list[str]:
    """What is wrong with the manifests in `folder`, one line each; empty when nothing."""
    return inspect(folder, delivery, catalogue, helm).faults


def inspect(
    folder: Path,
    delivery: Delivery,
    catalogue: Catalogue,
    helm: Helm,
    *,
    sets: Sequence[str] = (),
    versions: Sequence[str] | None = None,
) -> Inspection:
    """All that `validate` looks at, with figures. sets: values that win over the files'."""
    inspection = Inspection(versions=tuple(versions or (OLDEST, schemas.versions()[-1])))
    render = delivery.manifests.render
    pairs = [
        (each.name, service) for each in delivery.environments for service in catalogue.services
    ]
    for environment, service in pairs:
        target = delivery.target(service, environment).file
        if not (folder / target).is_file():
            inspection.faults.append(f"{environment}, {service.folder}: {target} is not there")
    once: dict[tuple[str, ...], tuple[str, Service]] = {}
    for name, service in pairs:
        once.setdefault(render.what_it_shows(service, name), (name, service))
    # Helm is a process of its own: as many at once as the machine has cores
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        renderings = pool.map(
            lambda pair: _rendered(folder, render, *pair, helm=helm, sets=sets), once.values()
        )
        together: dict[str, list[Object]] = {each.name: [] for each in delivery.environments}
        for (environment, service), (faults, objects) in zip(
            once.values(), renderings, strict=True
        ):
            where = f"{environment}, {service.folder}"
            inspection.faults += [f"{where}: {fault}" for fault in faults]
            inspection.rendered += len(objects)
            inspection.faults += [
                f"{where}: {line}" for item in objects for line in _one(item, inspection)
            ]
            together[environment] += objects
    for environment, objects in together.items():
        inspection.faults += [f"{environment}: {line}" for line in shape.faults_together(objects)]
    _look_at_argo(folder, inspection)
    return inspection


def _rendered(
    folder: Path,
    render: Render,
    environment: str,
    service: Service,
    *,
    helm: Helm,
    sets: Sequence[str],
) -> tuple[list[str], list[Object]]:
    """Faults and objects of one rendering."""
    faults = []
    try:
        if render.tool == "helm":
            chart = fill(render.chart, service, environment)
            values = values_files(folder, render, service, environment)
            if words := helm.lint(folder, chart, values):
                faults.append(f"helm lint: {words}")
        return faults, helm.render(folder, render, service, environment, sets=sets)
    except Refused as refused:
        return [*faults, str(refused)], []


def _look_at_argo(folder: Path, found: Inspection) -> None:
    """What Argo CD itself is given, where the repository has it in `argocd/`."""
    for path in sorted((folder / "argocd").rglob("*.yaml")):
        name = path.relative_to(folder)
        try:
            objects = parse(path.read_text(encoding="utf-8"))
        except Refused as refused:
            found.faults.append(f"{name}: {refused}")
        else:
            found.faults += [f"{name}: {line}" for item in objects for line in _one(item, found)]


def _one(item: Object, found: Inspection) -> Iterator[str]:
    """What is wrong with one object by itself; `found` counts how it was looked at."""
    if shape.is_known(item):
        found.by_shape += 1
        yield from shape.faults(item)
    elif schemas.is_custom(item):
        found.unknown[str(item.get("kind"))] += 1
    else:
        for version in found.versions:
            found.by_schema += 1
            for line in schemas.faults(item, version):
                yield f"{shape.title(item)}: Kubernetes {version}: {line}"
