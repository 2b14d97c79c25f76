"""Deletes data, caches and environments of this checkout, after asking."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "delete data, caches and environments, after asking"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """They are gone."""
    from ci.native import control  # noqa: PLC0415

    return control.clean(
        context.catalogue, context.settings, yes=arguments.yes, dry_run=context.dry_run
    )
