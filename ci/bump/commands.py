"""`ci bump`, `ci resume`."""

from dataclasses import replace

import click

from ci import config
from ci.bump import bumping, means, resuming
from ci.context import Context
from ci.outcome import Outcome
from ci.plan import facts
from ci.scan import commands as scan


@click.command()
@click.option("--release", metavar="TAG", help="a release in the registry, by its tag")
@click.option("--environment", metavar="E", help="default: the one that bump writes")
@click.option("--diverged", is_flag=True, help="also over a commit whose history is another")
def bump(
    context: Context, release: str | None, environment: str | None, *, diverged: bool
) -> Outcome:
    """Writes the new images into the manifest repository: the handshake.

    Reads the release that `push` left, which must be what the registry has on record; clones the
    manifest repository, and edits nothing but the image scalars, byte for byte; renders before and
    after, commits once for all services, pushes. When somebody else was first it decides again from
    what is there now, a bounded number of times, never by force. A service that is held, or that
    already runs a newer commit, is named and left as it is.

    With --dry-run it needs no build server: a person sees what the newest release would change.
    """
    delivery = config.load(context.catalogue, context.environ)
    build = facts.gather(context) if context.dry_run else facts.publishing(context, delivery)
    records = means.releases(context, delivery)
    if release or (context.dry_run and not bumping.has_handed_on(context)):
        recorded = bumping.find_release(records, release)
    else:
        handed_on = bumping.handed_on(context, build)
        if handed_on is None:
            return Outcome("nothing", "nothing was to be built, so nothing changes what runs")
        recorded = bumping.recorded(records, handed_on)
    return bumping.bump(
        context,
        delivery,
        recorded,
        means.real(context, delivery),
        environment=environment,
        diverged_too=diverged,
    )


@click.command()
@click.option("--last", metavar="N", default=20, help="release records looked at (20)")
def resume(context: Context, last: int) -> Outcome:
    """Finishes what a killed run had published.

    The registry knows which releases are whole, the manifest repository which were handed over; the
    difference is handed over now, the newest first, by the same rules as in `bump`, once its scan
    is clean. Nothing is read from the agent, which may be another one.
    """
    delivery = config.load(context.catalogue, context.environ)
    if not context.dry_run:
        facts.publishing(context, delivery)
    at_once = replace(delivery, scan=replace(delivery.scan, wait_s=0))  # pushed long ago
    return resuming.resume(
        context,
        delivery,
        means.releases(context, delivery),
        means.real(context, delivery),
        last=last,
        cleared=lambda release: scan.judge(context, at_once, release),
    )
