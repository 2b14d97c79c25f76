"""`ci build`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ci import config
from ci.build import building
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import planning


@click.command()
@click.argument("service", nargs=-1)
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="only what this plan builds"
)
def build(context: Context, service: Sequence[str], plan: Path | None) -> Outcome:
    """Builds images with Docker and proves them: hadolint, labels, user, port, smoke run, SBOM.

    Tagged as ci/ci.toml says when a build server gives a number, else `local-<commit>`. The smoke
    run has a read-only root, no capability and no network peer: /health must answer, SIGTERM must
    end it. The SBOM (CycloneDX) goes to .cache/ci/sbom/<code>.cdx.json.

    SERVICE: folders or codes (all; with --plan: its own)
    """
    services, why_not = planning.chosen(context, service, plan)
    if not services:
        return Outcome("nothing", why_not, {"images": {}})
    delivery = config.load(context.catalogue, context.environ)
    return building.main(context, delivery, services)
