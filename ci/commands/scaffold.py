"""Write a manifest repository to start from."""

import argparse

from ci.context import Context
from ci.errors import Refused
from ci.outcome import Outcome

HELP = "write a manifest repository to start from"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """Not there yet."""
    raise Refused("not built yet")
