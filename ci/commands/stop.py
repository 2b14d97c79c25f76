"""Stops a run here, from any terminal, and waits until nothing of it is left."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "stop the run here, from any terminal"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    del parser


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The run has ended."""
    del arguments
    from ci.native import control  # noqa: PLC0415

    return control.stop(context.settings, dry_run=context.dry_run)
