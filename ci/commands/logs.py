"""The logs of a run here, the last lines and then what comes."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "show and follow the logs of a run here"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    names = "das dis aps aps-worker ubs ui postgres (all)"
    parser.add_argument("process", nargs="*", help=names)
    parser.add_argument("--no-follow", action="store_true", help="only what is there")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The logs were shown."""
    from ci.native import control  # noqa: PLC0415

    follow = not (arguments.no_follow or context.dry_run)
    return control.logs(context.settings, arguments.process, follow=follow)
