"""`ci scan`."""

from pathlib import Path

import click

from ci import config
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import planning
from ci.push import publish
from ci.scan import gate


@click.command()
@click.option(
    "--release", metavar="FILE", type=click.Path(path_type=Path), help="(.cache/ci/release.json)"
)
@click.option(
    "--plan",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="nothing to do when it builds none",
)
def scan(context: Context, release: Path | None, plan: Path | None) -> Outcome:
    """Judges what the registry's scanner found in the images of a release.

    Findings of scan.fail_on (ci/ci.toml) or above stop the release, unless ci/waivers.toml accepts
    them; a waiver that has expired stops it as well. No findings is good news only from a scan that
    ended. Four statuses say that none did: scan_not_found, scan_failed, scan_unsupported (refused,
    3), and scan_pending when it still runs after scan.wait_s (4: run it again).
    """
    if plan:
        services, why_not = planning.chosen(context, [], plan)
        if not services:
            return Outcome("nothing", f"nothing to scan: {why_not}", {})
    delivery = config.load(context.catalogue, context.environ)
    file = release or context.handed_on / "release.json"
    return gate.main(context, delivery, publish.read_release(file))
