"""`ci scaffold`: a manifest repository to start from, and the check of one in any layout.

The files are those of `template/`, with `<<name>>` filled in:

    charts/, services/    word for word; a service's own is left out where ci.toml does not list it
    environments/         once for each environment
    argocd/, README.md    once

`services/` repeats what Dockerfiles and settings say, and tests hold the two together. Memory asked
for is what full caches and the process hold, over the autoscaler's 0.8; the limit has room for the
largest request. A limit on CPU would only make idle cores useless.
"""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import click

from ci import config
from ci.bump import render_gate
from ci.config import Delivery
from ci.context import Context
from ci.errors import CiError, Defect, OutsideFault, Refused, UsageError
from ci.manifests import current_image
from ci.model import Catalogue, Service
from ci.outcome import Outcome
from ci.tools import helm
from ci.tools.git_rules import without_credentials
from ci.tools.helm import Helm

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


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--check", "is_check", is_flag=True, help="render what is there, write nothing")
@click.option("--registry", metavar="HOST", help="of the images; else ECR_REGISTRY")
@click.option("--repo-url", metavar="URL", help="of DIR; else MANIFEST_REPO_URL")
@click.option("--domain", metavar="NAME", default="cloudopshub.invalid", help="of the dashboard")
def scaffold(
    context: Context,
    folder: Path,
    registry: str | None,
    repo_url: str | None,
    domain: str,
    *,
    is_check: bool,
) -> Outcome:
    r"""Writes a manifest repository to start from, or checks one.

    \b
    python -m ci scaffold DIR           charts, values, Argo CD's objects, README; never over
                                        a file that says something else; twice is once
    python -m ci scaffold DIR --check   every target holds an image and every environment renders,
                                        in any layout that ci/ci.toml tells of

    What nobody names is left as something that ends in `.invalid`, and told.

    DIR: the manifest repository
    """
    if (folder.exists() or is_check) and not folder.is_dir():
        raise UsageError(f"{folder} is not {'a folder' if folder.exists() else 'there'}")
    if is_check:
        return _checked(folder, config.load(context.catalogue, context.environ), context)
    given = {"ECR_REGISTRY": registry, "MANIFEST_REPO_URL": repo_url}
    named = {name: text for name, text in given.items() if text}
    delivery = config.load(context.catalogue, {**context.environ, **named})
    url = delivery.manifests.url
    if url != without_credentials(url):
        raise UsageError("the URL of the manifest repository carries credentials")
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
        raise UsageError(f"--domain {domain!r} is not a name like hub.example.com")
    addresses = Addresses(
        registry=delivery.registry.address or "registry.invalid",
        repo_url=url or "https://git.invalid/cloudopshub-manifests.git",
        branch=delivery.manifests.branch,
        domain=domain,
    )
    wanted = manifest_repository(delivery, context.catalogue.services, addresses)
    new = write(folder, wanted, dry_run=context.dry_run)
    facts = {"written": new, "already_there": len(wanted) - len(new)}
    if not new:
        return Outcome("nothing", f"{folder} has all {len(wanted)} files already", facts)
    listing = "\n".join(f"  + {path}  {wanted[path].count(chr(10))} lines" for path in new)
    if context.dry_run:
        return Outcome("would_write", f"would write into {folder}:\n{listing}", facts)
    try:
        checked = _checked(folder, delivery, context).text
    except OutsideFault as fault:
        checked = f"not checked: {fault}"
    open_ends = [text for text in addresses if ".invalid" in text]
    left = f"\nstill to be named: {', '.join(open_ends)}" if open_ends else ""
    text = f"{listing}\n{checked}{left}\n{folder}/README.md says what comes next"
    return Outcome("written", text, facts)


def _checked(folder: Path, delivery: Delivery, context: Context) -> Outcome:
    """Every target holds an image, everything renders, labels and names are Kubernetes'."""
    program = helm.find(context.settings.cache_dir, context.environ)
    objects, faults = check(folder, delivery, context.catalogue, program)
    if faults:
        text = "\n  ".join([f"{folder}: {objects} objects rendered", *faults])
        raise Defect(text, status="invalid", faults=faults)
    text = f"{folder}: {objects} objects rendered; nothing is wrong"
    return Outcome("valid", text, {"objects": objects})


def check(
    folder: Path, delivery: Delivery, catalogue: Catalogue, program: Helm
) -> tuple[int, list[str]]:
    """How many objects the manifests in `folder` render to, and a line for each thing wrong."""
    faults: list[str] = []
    renderings: dict[tuple[str, ...], tuple[Service, str]] = {}
    for environment in (environment.name for environment in delivery.environments):
        for service in catalogue.services:
            shown = delivery.manifests.render.what_it_shows(service, environment)
            renderings.setdefault(shown, (service, environment))
            target = delivery.target(service, environment)
            try:
                content = (folder / target.file).read_bytes()
                current_image(content, target.key, target.document, file=target.file)
            except OSError as exc:
                faults.append(f"{environment}, {service.folder}: {target.file}: {exc.strerror}")
            except CiError as error:
                faults.append(f"{environment}, {service.folder}: {error}")

    def rendered(service: Service, environment: str) -> tuple[int, list[str]]:
        try:
            objects = program.render(folder, delivery.manifests.render, service, environment)
        except Refused as refusal:
            return 0, [str(refusal)]
        return len(objects), render_gate.invalid(objects)

    # Helm is a process of its own: as many at once as the machine has cores
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda pair: rendered(*pair), renderings.values()))
    for (service, environment), (_, lines) in zip(renderings.values(), results, strict=True):
        faults += [f"{environment}, {service.folder}: {line}" for line in lines]
    return sum(count for count, _ in results), faults


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
