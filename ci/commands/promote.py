"""Brings what runs in one environment into the next.

Takes the images that FROM runs into TO, by the same handshake as `bump`. Which environments follow
which stands in ci/ci.toml. A service that is held in TO, or newer there, is named and left.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "what runs in one environment also runs in the next"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("source", metavar="FROM", help="an environment, e.g. staging")
    parser.add_argument("target", metavar="TO", help="the one that follows it, e.g. production")
    parser.add_argument("--service", action="append", metavar="S", help="only these; default all")
    parser.add_argument(
        "--diverged", action="store_true", help="also over a commit whose history is another"
    )


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """TO runs what FROM runs."""
    from ci import catalogue  # noqa: PLC0415
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import means, moves  # noqa: PLC0415
    from ci.pipeline.bumping import SourceHistory  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    moves.check_pair(delivery, arguments.source, arguments.target)
    listed = context.catalogue
    chosen = [catalogue.find(listed, name) for name in arguments.service or ()]
    propose = moves.promoting(
        arguments.source,
        arguments.target,
        chosen or listed.services,
        SourceHistory(context.root),
        context.now(),
        diverged_too=arguments.diverged,
    )
    return moves.hand_over(
        context, delivery, arguments.target, propose, means.real(context, delivery)
    )
