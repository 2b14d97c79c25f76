"""Runs an earlier image again, held until released.

Goes back to the delivery before the one that runs, or to the one with that tag, when the registry
still has its image. The service then stays there, whatever is built meanwhile, until
`ci release SERVICE`.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "an earlier image again, held until released"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("service", metavar="SERVICE", help="a folder or its code")
    parser.add_argument("--to", metavar="TAG", help="default: what ran before")
    parser.add_argument("--environment", metavar="E", help="default: the one that bump writes")
    parser.add_argument("--reason", metavar="TEXT", help="stands in the manifest repository")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The service runs an earlier delivery, and stays there."""
    from ci import catalogue  # noqa: PLC0415
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import means, moves  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    moves.refuse_elsewhere(context, delivery)
    environment = delivery.environment(arguments.environment or delivery.first.name).name
    propose = moves.rolling_back(
        catalogue.find(context.catalogue, arguments.service),
        environment,
        context.now(),
        tag=arguments.to,
        reason=arguments.reason or moves.by_whom(context, "rolled back"),
        why_not=means.why_not_again(context, delivery),
    )
    return moves.hand_over(context, delivery, environment, propose, means.real(context, delivery))
