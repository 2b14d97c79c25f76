"""`ci push`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ci import config
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import planning
from ci.push import publish


@click.command()
@click.argument("service", nargs=-1)
@click.option(
    "--plan", metavar="FILE", type=click.Path(path_type=Path), help="only what this plan builds"
)
def push(context: Context, service: Sequence[str], plan: Path | None) -> Outcome:
    """Publishes the built images: looks first, pushes second, reads the digests back third.

    The tag is the build's. An equal image under it is success, another one is refused, with both.
    When all images of the set were read back from the registry, release.json is written; before
    that nothing is handed on. A repository that is missing, or whose tags could be overwritten, is
    refused with the command that mends it.

    SERVICE: folders or codes (all; with --plan: its own)
    """
    services, why_not = planning.chosen(context, service, plan)
    if not services:
        return Outcome("nothing", f"nothing to publish: {why_not}", {"pushed": []})
    delivery = config.load(context.catalogue, context.environ)
    return publish.main(context, delivery, services)
