"""Builds images with Docker and proves them: hadolint, labels, user, port, a smoke run, an SBOM.

Tagged as ci/ci.toml says when a build server gives a number, else `local-<commit>`. The smoke run
has a read-only root, no capability and no network peer: /health must answer, SIGTERM must end it.
The SBOM (CycloneDX) goes to .cache/ci/sbom/<code>.cdx.json. On the main branch an image whose tag
is in the registry already is not built again, because tags never change.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "the images of a plan, with labels, SBOM and a smoke run"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("service", nargs="*", help="folders or codes (all; with --plan: its own)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="only what this plan builds")
    parser.add_argument("--no-cache", action="store_true", help="without the engine's build cache")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The images are built and proven."""
    from ci.pipeline import planning  # noqa: PLC0415

    services, why_not = planning.chosen(context, arguments.service, arguments.plan)
    if not services:
        return Outcome("nothing", why_not, {"images": {}})
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import build  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    return build.main(context, delivery, services, cached=not arguments.no_cache)
