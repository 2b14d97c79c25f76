"""Publishes the built images: looks first, pushes second, reads the digests back third.

The tag is the build's. An equal image under it is success, another one is refused, with both. When
all images of the set are in the registry, a release record is written there and release.json here;
before that nothing is handed on, and a later run goes on where this one ended. Repositories are
created with immutable tags, scan on push and a lifecycle; one that differs is told, and one whose
tags could be overwritten is refused, unless --fix mends it.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "images into the registry, whole or not handed on"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("service", nargs="*", help="folders or codes (all; with --plan: its own)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="only what this plan builds")
    parser.add_argument("--fix", action="store_true", help="mend repositories set up differently")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The set is in the registry, whole."""
    from ci.pipeline import planning  # noqa: PLC0415

    services, why_not = planning.chosen(context, arguments.service, arguments.plan)
    if not services:
        return Outcome("nothing", f"nothing to publish: {why_not}", {"pushed": []})
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import publish  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    return publish.main(context, delivery, services, fix=arguments.fix)
