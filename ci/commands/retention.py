"""Finds images and release records that nobody needs any more, and deletes them with --delete.

What a file of the manifest repository names stays, in whatever environment and even in a comment;
so does what a rollback could choose, what is young, and the newest of each repository. All
environments count, always: an image that one of them needs is needed.
"""

import argparse
from datetime import timedelta

from ci.context import Context
from ci.outcome import Outcome

HELP = "images that no manifest references any more"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--delete", action="store_true", help="delete them; default: only list")
    parser.add_argument(
        "--rollbacks", metavar="N", type=int, default=10, help="deployments that stay (10)"
    )
    parser.add_argument(
        "--min-age-days", metavar="DAYS", type=float, default=14, help="younger ones stay (14)"
    )


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """What nobody needs is listed, or gone."""
    from ci.delivery import config  # noqa: PLC0415
    from ci.errors import UsageError  # noqa: PLC0415
    from ci.pipeline import moves, retention  # noqa: PLC0415

    if arguments.rollbacks < 1 or arguments.min_age_days < 0:
        raise UsageError("--rollbacks is at least 1, --min-age-days at least 0")
    delivery = config.load(context.catalogue, context.environ)
    if arguments.delete:
        moves.refuse_elsewhere(context, delivery)
    return retention.main(
        context,
        delivery,
        rollbacks=arguments.rollbacks,
        age=timedelta(days=arguments.min_age_days),
        delete=arguments.delete,
    )
