"""What can be said about the repository without running it: ruff, mypy, layers, locks, tree, …

With --plan, only as much as the plan asks for.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "ruff, mypy, layers, Dockerfiles, twins, locks, tree"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("check", nargs="*", help="some of these checks (all)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="as much as this plan asks for")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The checks hold."""
    from ci.checks import run as checks  # noqa: PLC0415

    wanted = arguments.check
    if arguments.plan:
        from ci.pipeline import planning  # noqa: PLC0415

        scope = planning.read(arguments.plan).lint
        if scope == "none":
            return Outcome("nothing", "no file changed", {"checks": []})
        if scope == "files":
            wanted = sorted(checks.FILES_ONLY)
    return checks.main(context, wanted)
