"""Writes what `docker compose up` needs; values that are there already stay."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "write the .env of `docker compose up`, once"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("file", nargs="?", default=".env", help="within the repository (.env)")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The file is complete."""
    from ci.native import keys  # noqa: PLC0415

    return keys.write_env(context.root / arguments.file, dry_run=context.dry_run)
