"""`ci plan`."""

from pathlib import Path

import click

from ci import config
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import planning


@click.command()
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="(.cache/ci/plan.json)"
)
def plan(context: Context, out: Path | None) -> Outcome:
    """Decides which folders to test and which images to build, says why, and writes the plan.

    On the main branch a service is compared with the commit its deployed image was built from,
    which the trailers of the manifest repository tell; else with the last successful build; else
    everything is done. Pull requests and branches compare with where they left the main branch, and
    need no credentials. Files that all services depend on widen the plan: [plan] in ci/ci.toml.
    """
    delivery = config.load(context.catalogue, context.environ)
    return planning.main(context, delivery, out or context.handed_on / "plan.json")
