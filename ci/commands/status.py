"""Tells what runs where, since when, built from what.

One table for each environment, from the manifest repository: the image in the file, how long it has
stood there, the commit it was built from, how long that commit took to get there, how many commits
the checkout is ahead; and what is held, or was changed by hand.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "what runs where, since when, built from what"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--environment", metavar="E", help="only this one")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The table."""
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import overview  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    names = [each.name for each in delivery.environments]
    if arguments.environment:
        names = [delivery.environment(arguments.environment).name]
    return overview.main(context, delivery, names)
