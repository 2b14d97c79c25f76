"""Judges what the registry's scanner found in the images of a release (.cache/ci/release.json).

Findings of scan.fail_on (ci/ci.toml) or above stop the release, unless ci/waivers.toml accepts
them; a waiver that has expired stops it as well. No findings is good news only from a scan that
ended. Four statuses say that none did: scan_not_found, scan_failed, scan_unsupported (refused, 3),
and scan_pending when it still runs after scan.wait_s (4: run it again).
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "the registry's findings, as a gate"
DELIVERS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("--release", metavar="FILE", type=Path, help="(.cache/ci/release.json)")
    parser.add_argument(
        "--plan", metavar="FILE", type=Path, help="nothing to do when it builds none"
    )


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """Nothing in the release stops it."""
    from ci.pipeline import planning  # noqa: PLC0415

    if arguments.plan:
        services, why_not = planning.chosen(context, [], arguments.plan)
        if not services:
            return Outcome("nothing", f"nothing to scan: {why_not}", {})
    from ci.delivery import config  # noqa: PLC0415
    from ci.pipeline import publish, scan  # noqa: PLC0415

    delivery = config.load(context.catalogue, context.environ)
    release = publish.read_release(arguments.release or context.handed_on / "release.json")
    return scan.main(context, delivery, release)
