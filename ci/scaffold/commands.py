"""`ci scaffold`: a manifest repository to start from, and the check of one in any layout."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ci import config
from ci.bump import render_gate
from ci.config import Delivery
from ci.context import Context
from ci.errors import CiError, Defect, OutsideFault, Refused, UsageError
from ci.manifests import current_image
from ci.model import Catalogue, Service
from ci.outcome import Outcome
from ci.scaffold import files
from ci.tools import helm
from ci.tools.git_rules import without_credentials
from ci.tools.helm import Helm


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
    addresses = files.Addresses(
        registry=delivery.registry.address or "registry.invalid",
        repo_url=url or "https://git.invalid/cloudopshub-manifests.git",
        branch=delivery.manifests.branch,
        domain=domain,
    )
    wanted = files.manifest_repository(delivery, context.catalogue.services, addresses)
    new = files.write(folder, wanted, dry_run=context.dry_run)
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
