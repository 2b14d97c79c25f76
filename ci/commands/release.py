"""Ends the hold of a rollback.

Nothing changes at once: a commit without files says that the service follows again, and the next
newer build, or promotion, is what it will run.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "end the hold of a rollback"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("service", metavar="SERVICE", help="a folder or its code")
    parser.add_argument("--environment", metavar="E", help="default: the one that bump writes")
    parser.add_argument("--reason", metavar="TEXT", help="stands in the manifest repository")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The service is held no longer."""
    from ci import catalogue  # noqa: PLC0415
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import means, moves  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    environment = delivery.environment(arguments.environment or delivery.first.name).name
    propose = moves.releasing(
        catalogue.find(context.catalogue, arguments.service),
        environment,
        context.now(),
        arguments.reason or moves.by_whom(context, "released"),
    )
    return moves.hand_over(context, delivery, environment, propose, means.real(context, delivery))
