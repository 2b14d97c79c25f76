"""What a run here consists of; exit code 4 when a part is not ready or nothing runs."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "what runs here: pid, port, uptime, memory, readiness"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    del parser


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The table of processes."""
    del arguments
    from ci.native import control  # noqa: PLC0415

    return control.processes(context.catalogue, context.settings)
