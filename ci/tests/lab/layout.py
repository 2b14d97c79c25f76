"""A small manifest repository in whatever layout ci.toml tells of, for pipelines at home.

`ci scaffold` writes one layout, for real use. Where ci.toml tells of another, this writes the least
that it can be true of: every target file with its key, and what renders it (a chart of Deployments,
or a kustomization).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ci.config import Delivery, fill
from ci.errors import Refused
from ci.manifests import key_path
from ci.manifests.key_path import Key, KeyPath, Named
from ci.model import Catalogue, ImageRef, Service

WORKLOAD = """\
{{{{- $values := .Values | mustToJson | mustFromJson }}}}
{{{{- with dig {steps} dict $values }}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: main, image: "{{{{ .repository }}}}:{{{{ .tag }}}}"}}]
{{{{- end }}}}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {code}}}
spec: {{containers: [{{name: main, image: {image}}}]}}
"""


def write(folder: Path, delivery: Delivery, catalogue: Catalogue) -> None:
    """The repository in `folder`; `Refused` names what of the layout it cannot be true of."""
    documents: dict[str, Any] = {}
    charts: dict[str, set[KeyPath]] = {}
    render = delivery.manifests.render
    for environment in delivery.environments:
        for service in catalogue.services:
            target = delivery.target(service, environment.name)
            path = key_path.parse(target.key)
            image = delivery.registry.image(service, "0")
            documents[target.file] = _placed(documents.get(target.file), path, image, target.key)
            if render.tool == "helm":
                chart = fill(render.chart, service, environment.name)
                charts.setdefault(chart, set()).add(path)
            if render.tool == "kustomize":
                place = folder / fill(render.path, service, environment.name)
                _kustomization(place, service, documents, target.file, folder)
    for chart, paths in charts.items():
        _chart(folder / chart, paths)
    for name, document in documents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(document, sort_keys=False))


def _placed(document: Any, path: KeyPath, image: ImageRef, shown: str) -> Any:
    """`document` with the image at `path`: a mapping, or an entry of kustomize's images."""
    first, *rest = path
    if isinstance(first, Key):
        document = {} if document is None else document
        value = {"repository": image.repository, "tag": image.tag}
        inner = document.get(first.name)
        document[first.name] = _placed(inner, tuple(rest), image, shown) if rest else value
        return document
    if isinstance(first, Named) and not rest:
        entry = {first.key: first.value, "newName": image.repository, "newTag": image.tag}
        return [*(document or ()), entry]
    raise Refused(f"no small manifest repository has a target {shown!r}", status="other_layout")


def _chart(folder: Path, paths: Iterable[KeyPath]) -> None:
    """A chart with a Deployment for each place of its values that may hold an image."""
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    (folder / "Chart.yaml").write_text(f"apiVersion: v2\nname: {folder.name}\nversion: 1.0.0\n")
    for path in paths:
        if not all(isinstance(step, Key) for step in path):
            text = f"no small chart reads its image from {key_path.written(path)!r}"
            raise Refused(text, status="other_layout")
        names = [step.name for step in path if isinstance(step, Key)]
        steps = " ".join(f'"{name}"' for name in names)
        name = "-".join([folder.name, *names]).lower()
        (folder / "templates" / f"{name}.yaml").write_text(WORKLOAD.format(steps=steps, name=name))


def _kustomization(
    place: Path, service: Service, documents: dict[str, Any], target: str, root: Path
) -> None:
    """A pod for the service, listed in the kustomization that the target file is."""
    if (root / target).parent != place:
        text = f"kustomize builds {place.relative_to(root)}, and the image stands in {target}"
        raise Refused(text, status="other_layout")
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{service.code}.yaml").write_text(POD.format(code=service.code, image=service.image))
    resources = documents[target].setdefault("resources", [])
    if f"{service.code}.yaml" not in resources:
        resources.append(f"{service.code}.yaml")
