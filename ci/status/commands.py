"""`ci status`."""

import click

from ci import config
from ci.context import Context
from ci.outcome import Outcome
from ci.status import overview


@click.command()
@click.option("--environment", metavar="E", help="only this one")
def status(context: Context, environment: str | None) -> Outcome:
    """Tells what runs where, since when, built from what.

    One table for each environment, from the manifest repository: the image in the file, how long it
    has stood there, the commit it was built from, how long that commit took to get there, how many
    commits the checkout is ahead; and what is held, or was changed by hand.
    """
    delivery = config.load(context.catalogue, context.environ)
    names = [listed.name for listed in delivery.environments]
    if environment:
        names = [delivery.environment(environment).name]
    return overview.main(context, delivery, names)
