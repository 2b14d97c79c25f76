"""`ci scaffold`."""

import re
from collections.abc import Mapping
from pathlib import Path

import click

from ci import config
from ci.context import Context
from ci.errors import Defect, OutsideFault, UsageError
from ci.outcome import Outcome
from ci.scaffold import check as checking
from ci.scaffold import facts, files, write
from ci.tools import helm
from ci.tools.git_address import without_credentials


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="render and validate, write nothing")
@click.option("--registry", metavar="HOST", help="of the images; else ECR_REGISTRY")
@click.option("--repo-url", metavar="URL", help="of DIR; else MANIFEST_REPO_URL")
@click.option("--domain", metavar="NAME", help="where people open the dashboard")
def scaffold(
    context: Context,
    folder: Path,
    registry: str | None,
    repo_url: str | None,
    domain: str | None,
    *,
    check: bool,
) -> Outcome:
    r"""Writes a manifest repository to start from, or checks one.

    \b
    python -m ci scaffold DIR           charts, values, Argo CD's objects, README; never over
                                        a file that says something else; twice is once
    python -m ci scaffold DIR --check   lint, render and validate what is there, in any layout
                                        that ci/ci.toml tells of

    What nobody names is left as something that ends in `.invalid`, and told.

    DIR: the manifest repository
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if check:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not there")
        return _check(folder, context)
    given = {"ECR_REGISTRY": registry, "MANIFEST_REPO_URL": repo_url}
    return _write(folder, {name: text for name, text in given.items() if text}, domain, context)


def _check(folder: Path, context: Context) -> Outcome:
    delivery = config.load(context.catalogue, context.environ)
    program = helm.find(context.settings.cache_dir, context.environ)
    inspection = checking.inspect(folder, delivery, context.catalogue, program)
    if inspection.faults:
        raise Defect(
            f"{folder}: {inspection.told()}\n  " + "\n  ".join(inspection.faults),
            status="invalid",
            faults=inspection.faults,
        )
    return Outcome(
        "valid",
        f"{folder}: {inspection.told()}; nothing is wrong",
        {
            "objects": inspection.rendered,
            "checks_by_schema": inspection.by_schema,
            "checks_by_shape": inspection.by_shape,
            "kubernetes": list(inspection.versions),
            "unchecked": dict(inspection.unknown),
        },
    )


def _write(folder: Path, given: Mapping[str, str], domain: str | None, context: Context) -> Outcome:
    delivery = config.load(context.catalogue, {**context.environ, **given})
    url = delivery.manifests.url
    if url != without_credentials(url):
        raise UsageError(
            "the URL of the manifest repository carries credentials; Argo CD has its own"
        )
    domain = domain or "cloudopshub.invalid"
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
        raise UsageError(f"--domain {domain!r} is not a name like hub.example.com")
    addresses = files.Addresses(
        registry=delivery.registry.address or "registry.invalid",
        repo_url=url or "https://git.invalid/cloudopshub-manifests.git",
        branch=delivery.manifests.branch,
        domain=domain,
    )
    wanted = files.manifest_repository(
        delivery, facts.read(context.catalogue), addresses, write.template()
    )
    planned = write.plan(folder, wanted)
    facts_json = {"written": list(planned.new), "already_there": len(planned.same)}
    if not planned.new:
        return Outcome("nothing", f"{folder} has all {len(planned.same)} files already", facts_json)
    listing = "\n".join(f"  + {path}  {wanted[path].count(chr(10))} lines" for path in planned.new)
    if context.dry_run:
        return Outcome("would_write", f"would write into {folder}:\n{listing}", facts_json)
    write.write(folder, wanted, planned)
    try:
        checked = _check(folder, context).text
    except OutsideFault as fault:
        checked = f"not checked: {fault}"
    open_ends = [text for text in vars(addresses).values() if ".invalid" in text]
    left = f"\nstill to be named: {', '.join(open_ends)}" if open_ends else ""
    return Outcome(
        "written",
        f"{listing}\n{checked}{left}\n{folder}/README.md says what comes next",
        facts_json,
    )
