"""The files of a manifest repository: those of `template/`, with `<<name>>` filled in.

    charts/, services/    word for word; a service's own is left out where ci.toml does not list it
    environments/         once for each environment
    argocd/, README.md    once

`services/` repeats what Dockerfiles and settings say, and tests hold the two together. Memory asked
for is what full caches and the process hold, over the autoscaler's 0.8; the limit has room for the
largest request. A limit on CPU would only make idle cores useless.
"""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ci.config import Delivery
from ci.errors import Refused
from ci.model import Service

TEMPLATE = Path(__file__).parent / "template"
HOLE = re.compile(r"<<([a-z_]+)>>")
ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
LAYOUT = {  # of [manifests] in ci.toml
    "target.file": "environments/{environment}/{folder}.yaml",
    "target.key": "image",
    "render.tool": "helm",
    "render.chart": "charts/cloudopshub-service",
    "render.release": "{folder}",
    "render.values": (
        "services/{folder}.yaml",
        "environments/{environment}/common.yaml",
        "environments/{environment}/{folder}.yaml",
    ),
}


class Addresses(NamedTuple):
    """Where this installation lives. Those that nobody gave end in `.invalid`."""

    registry: str
    repo_url: str
    branch: str
    domain: str


def manifest_repository(
    delivery: Delivery, services: Sequence[Service], addresses: Addresses
) -> dict[str, str]:
    """Every file of the repository by its path; `Refused` where ci.toml tells of another layout."""
    template = {
        path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(TEMPLATE.rglob("*"))
        if path.is_file()
    }
    _refuse_another_layout(delivery, services, template)
    environments, namespace = delivery.environments, delivery.manifests.render.namespace
    sources = {environment.promoted_from for environment in environments}
    last = [environment for environment in environments if environment.name not in sources][-1]
    ecr = ECR.fullmatch(addresses.registry)
    there = 'server: "https://kubernetes.default.svc", autoSync: "true"'
    names = [(e.name, namespace.format(environment=e.name)) for e in environments]
    elements = [
        f"                - {{environment: {name}, namespace: {space}, {there}}}"
        for name, space in names
    ]
    everywhere = addresses._asdict() | {
        "first": delivery.first.name,
        "last": last.name,
        "account": ecr["account"] if ecr else "0" * 12,
        "region": ecr["region"] if ecr else "eu-central-1",
        "namespaces": namespace.format(environment="*"),
        "environment_list": " → ".join(f"`{environment.name}`" for environment in environments),
        "environments": "\n".join(elements),
    }
    files = {
        path: text if path.startswith("charts/") else _filled(text, everywhere)
        for path, text in template.items()
        if not path.startswith(("services/", "environments/"))
    }
    for environment in environments:
        is_first, domain = environment.promoted_from is None, addresses.domain
        here = everywhere | {
            "environment": environment.name,
            "host": domain if environment == last else f"{environment.name}.{domain}",
            # no dots: the certificate of S3 does not cover them
            "bucket": f"cloudopshub-{environment.name}-{domain.replace('.', '-')}",
            "replicas": "1" if is_first else "2",
            "autoscaling": "false" if is_first else "true",
        }
        folder = f"environments/{environment.name}"
        files[f"{folder}/common.yaml"] = _filled(template["environments/common.yaml"], here)
        for service in services:
            name = f"{service.folder}.yaml"
            files[f"services/{name}"] = template[f"services/{name}"]
            repository = f"{addresses.registry}/{delivery.registry.repository(service)}"
            text = template[f"environments/{name}"]
            files[f"{folder}/{name}"] = _filled(text, here | {"repository": repository})
    return dict(sorted(files.items()))


def write(folder: Path, files: Mapping[str, str], *, dry_run: bool = False) -> list[str]:
    """The paths that were not there; unless it is a dry run, they are now, as `files` has them."""
    new, other = [], []
    for path, text in files.items():
        place = folder / path
        if not place.exists() and not place.is_symlink():
            new.append(path)
        elif not place.is_file() or place.read_bytes() != text.encode():
            other.append(path)
    if other:
        listing = "\n  ".join([f"{folder} has files of yours that say something else:", *other])
        raise Refused(listing, status="not_empty", files=other)
    for path in () if dry_run else new:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(files[path])
    return new


def _refuse_another_layout(
    delivery: Delivery, services: Sequence[Service], template: Mapping[str, str]
) -> None:
    settings = delivery.manifests
    other = [name for name, value in LAYOUT.items() if attrgetter(name)(settings) != value]
    other += [f"target of {listed.code}" for listed in delivery.services if listed.target]
    if other:
        raise Refused(
            "ci/ci.toml tells of another layout of the manifest repository than the one scaffold "
            f"writes ({', '.join(other)}); `scaffold --check` works with any"
        )
    for service in services:
        if f"services/{service.folder}.yaml" not in template:
            places = f"services/ and environments/ of {TEMPLATE.relative_to(TEMPLATE.parents[2])}"
            raise Refused(f"scaffold has no values for {service.folder}: add them to {places}")


def _filled(text: str, values: Mapping[str, str]) -> str:
    return HOLE.sub(lambda hole: values[hole[1]], text)
