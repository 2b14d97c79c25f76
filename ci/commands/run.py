"""The whole platform on this machine until Ctrl-C. Settings are variables: ci/README.md."""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "run the platform here until Ctrl-C"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    del parser


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The platform ran and was stopped."""
    del arguments
    if context.dry_run:
        services = ", ".join(service.code for service in context.catalogue.services)
        text = f"would start PostgreSQL, {services} with data in {context.settings.data_dir}"
        return Outcome("done", text)
    from ci.native import launcher  # noqa: PLC0415

    launcher.main(context.catalogue, context.settings)
    return Outcome("done", "")
