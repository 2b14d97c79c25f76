"""Writes the new images into the manifest repository: the handshake.

Reads the release that `push` left, which must be what the registry has on record; clones the
manifest repository, and edits nothing but the image scalars, byte for byte; renders before and
after, commits once for all services, pushes. When somebody else was first it decides again from
what is there now, a bounded number of times, never by force. A service that is held, or that
already runs a newer commit, is named and left as it is.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "the handshake: the manifest repository says the new images"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--release", metavar="TAG", help="a release in the registry, by its tag")
    parser.add_argument("--environment", metavar="E", help="default: the one that bump writes")
    parser.add_argument(
        "--diverged", action="store_true", help="also over a commit whose history is another"
    )


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The release of this build, or the one named, is handed over."""
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import bumping, facts, means  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    build = facts.publishing(context, delivery)
    found = means.releases(context, delivery)
    if arguments.release:
        release = bumping.find_release(found, arguments.release)
    else:
        handed_on = bumping.handed_on(context, build)
        if handed_on is None:
            return Outcome("nothing", "nothing was to be built, so nothing changes what runs")
        release = bumping.recorded(found, handed_on)
    return bumping.bump(
        context,
        delivery,
        release,
        means.real(context, delivery),
        environment=arguments.environment,
        diverged_too=arguments.diverged,
    )
