"""`ci bump`."""

import click

from ci import config
from ci.bump import bumping, means
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import facts
from ci.promote import moves


@click.command()
@click.option("--environment", metavar="E", help="default: the one that bump writes")
@click.option("--diverged", is_flag=True, help="also over a commit whose history is another")
def bump(context: Context, environment: str | None, *, diverged: bool) -> Outcome:
    """Writes the new images into the manifest repository: the handshake.

    Reads the release that `push` left and asks the registry again for each digest; clones the
    manifest repository, and edits nothing but the image scalars, byte for byte; renders before and
    after, commits once for all services, pushes. When somebody else was first it decides again from
    what is there now, a bounded number of times, never by force. A service that is held, or that
    already runs a newer commit, is named and left as it is.

    With --dry-run it needs no build server: it shows what a release.json would change.
    """
    delivery = config.load(context.catalogue, context.environ)
    if context.dry_run:
        moves.refuse_elsewhere(context, delivery)
        build = facts.gather(context)
    else:
        build = facts.publishing(context, delivery)
    release = bumping.handed_on(context, delivery, build)
    if release is None:
        return Outcome("nothing", "nothing was to be built, so nothing changes what runs")
    return bumping.bump(
        context,
        delivery,
        release,
        means.real(context, delivery),
        environment=environment,
        diverged_too=diverged,
    )
