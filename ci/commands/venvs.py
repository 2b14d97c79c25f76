"""Makes the folders' environments from their hashed locks; current ones are left alone."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "make the folders' environments"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("service", nargs="*", help="folders or codes, ci (all)")
    parser.add_argument("--dev", action="store_true", help="with the development tools")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """They are made."""
    from ci.suites import run as suites  # noqa: PLC0415

    return suites.make_environments(context, arguments.service, dev=arguments.dev)
