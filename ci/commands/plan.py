"""Decides which folders to test and which images to build, says why, and writes the plan.

On the main branch a service is compared with the commit its deployed image was built from, which
the trailers of the manifest repository tell; else with the last successful build; else everything
is done. Pull requests and branches compare with where they left the main branch, and need no
credentials. Files that all services depend on widen the plan: [plan] in ci/ci.toml.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "which services to test and build, and why"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--out", metavar="FILE", type=Path, help="(.cache/ci/plan.json)")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The plan."""
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import planning  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    return planning.main(context, delivery, arguments.out or context.handed_on / "plan.json")
