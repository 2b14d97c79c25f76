"""Writes a manifest repository to start from, or checks one.

    python -m ci scaffold DIR           charts, values, Argo CD's objects, README; never over
                                        a file that says something else; twice is once
    python -m ci scaffold DIR --check   lint, render and validate what is there, in any layout
                                        that ci/ci.toml tells of

What nobody names is left as something that ends in `.invalid`, and told.
"""

import argparse
import re
from pathlib import Path

from ci.context import Context
from ci.errors import Defect, OutsideFault, UsageError
from ci.outcome import Outcome

HELP = "write a manifest repository to start from, or --check one"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="the manifest repository")
    parser.add_argument("--check", action="store_true", help="render and validate, write nothing")
    parser.add_argument("--registry", metavar="HOST", help="of the images; else ECR_REGISTRY")
    parser.add_argument("--repo-url", metavar="URL", help="of DIR; else MANIFEST_REPO_URL")
    parser.add_argument("--domain", metavar="NAME", help="where people open the dashboard")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """Write and then check, or only check."""
    folder: Path = arguments.folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if arguments.check:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not there")
        return _check(folder, context)
    return _write(folder, arguments, context)


def _check(folder: Path, context: Context) -> Outcome:
    from ci.delivery import config  # noqa: PLC0415  only here
    from ci.scaffold import check  # noqa: PLC0415  needs what delivery brings
    from ci.tools import helm  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    program = helm.find(context.settings.cache_dir, context.environ)
    found = check.inspect(folder, delivery, context.catalogue, program)
    if found.faults:
        raise Defect(
            f"{folder}: {found.told()}\n  " + "\n  ".join(found.faults),
            status="invalid",
            faults=found.faults,
        )
    return Outcome(
        "valid",
        f"{folder}: {found.told()}; nothing is wrong",
        {
            "objects": found.rendered,
            "checks_by_schema": found.by_schema,
            "checks_by_shape": found.by_shape,
            "kubernetes": list(found.versions),
            "unchecked": dict(found.unknown),
        },
    )


def _write(folder: Path, arguments: argparse.Namespace, context: Context) -> Outcome:
    from ci.delivery import build_facts, config  # noqa: PLC0415  only here
    from ci.scaffold import facts, files, write  # noqa: PLC0415  needs what delivery brings

    given = {"ECR_REGISTRY": arguments.registry, "MANIFEST_REPO_URL": arguments.repo_url}
    environ = {**context.environ, **{name: text for name, text in given.items() if text}}
    delivery = config.load(context.catalogue, environ)
    url = delivery.manifests.url
    if url != build_facts.without_credentials(url):
        raise UsageError(
            "the URL of the manifest repository carries credentials; Argo CD has its own"
        )
    domain = arguments.domain or "cloudopshub.invalid"
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
    told = {"written": list(planned.new), "already_there": len(planned.same)}
    if not planned.new:
        return Outcome("nothing", f"{folder} has all {len(planned.same)} files already", told)
    listing = "\n".join(f"  + {path}  {wanted[path].count(chr(10))} lines" for path in planned.new)
    if context.dry_run:
        return Outcome("would_write", f"would write into {folder}:\n{listing}", told)
    write.write(folder, wanted, planned)
    try:
        checked = _check(folder, context).text
    except OutsideFault as fault:
        checked = f"not checked: {fault}"
    open_ends = [text for text in vars(addresses).values() if ".invalid" in text]
    left = f"\nstill to be named: {', '.join(open_ends)}" if open_ends else ""
    return Outcome(
        "written", f"{listing}\n{checked}{left}\n{folder}/README.md says what comes next", told
    )
