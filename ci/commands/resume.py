"""Finishes what a killed run had published.

The registry knows which releases are whole, the manifest repository which were handed over; the
difference is handed over now, the newest first, by the same rules as in `bump`, once its scan is
clean. Nothing is read from the agent, which may be another one.
"""

import argparse
from dataclasses import replace

from ci.context import Context
from ci.outcome import Outcome

HELP = "finish what a killed run had published"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument(
        "--last", metavar="N", type=int, default=20, help="release records looked at (20)"
    )


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """Releases without a manifest commit are handed over."""
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import bumping, facts, means, scan  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    facts.publishing(context, delivery)
    at_once = replace(delivery, scan=replace(delivery.scan, wait_s=0))  # pushed long ago
    return bumping.resume(
        context,
        delivery,
        means.releases(context, delivery),
        means.real(context, delivery),
        last=arguments.last,
        cleared=lambda release: scan.main(context, at_once, release),
    )
