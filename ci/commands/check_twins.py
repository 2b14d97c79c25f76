"""The files that must be identical are; ci.toml lists them."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "files that must be identical are"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    del parser


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """All twins hold the same bytes."""
    del arguments
    from ci.checks import run as checks  # noqa: PLC0415

    return checks.main(context, ["twins"])
