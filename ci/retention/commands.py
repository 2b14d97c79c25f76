"""`ci retention`."""

from datetime import timedelta

import click

from ci import config
from ci.context import Context
from ci.errors import UsageError
from ci.outcome import Outcome
from ci.promote import moves
from ci.retention import prune


@click.command()
@click.option("--delete", is_flag=True, help="delete them; default: only list")
@click.option("--rollbacks", metavar="N", default=10, help="deployments that stay (10)")
@click.option("--min-age-days", metavar="DAYS", default=14.0, help="younger ones stay (14)")
def retention(context: Context, rollbacks: int, min_age_days: float, *, delete: bool) -> Outcome:
    """Finds images and release records that nobody needs any more, and deletes them with --delete.

    What a file of the manifest repository names stays, in whatever environment and even in a
    comment; so does what a rollback could choose, what is young, and the newest of each repository.
    All environments count, always: an image that one of them needs is needed.
    """
    if rollbacks < 1 or min_age_days < 0:
        raise UsageError("--rollbacks is at least 1, --min-age-days at least 0")
    delivery = config.load(context.catalogue, context.environ)
    if delete:
        moves.refuse_elsewhere(context, delivery)
    return prune.main(
        context,
        delivery,
        rollbacks=rollbacks,
        age=timedelta(days=min_age_days),
        delete=delete,
    )
