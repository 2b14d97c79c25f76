"""Runs tests as each folder's own pytest, in the environment its lock makes; one closing summary.

Without names: everything, units first, the running platform last. With --plan, a folder that the
plan does not ask for is nothing to do. A suite that collects no test has failed. JUnit XML is
always written.
"""

import argparse
from pathlib import Path

from ci.context import Context
from ci.outcome import Outcome

HELP = "run tests; one closing summary"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""
    parser.add_argument("suite", nargs="*", help="folders or codes, ci, e2e (everything)")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="(.cache/ci/junit/NAMES.xml)")
    parser.add_argument("--plan", metavar="FILE", type=Path, help="only what this plan asks for")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="pytest's -k")


def main(arguments: argparse.Namespace, context: Context) -> Outcome:
    """The tests pass."""
    from ci.suites import run as suites  # noqa: PLC0415

    wanted = arguments.suite
    if arguments.plan:
        from ci.pipeline import planning  # noqa: PLC0415

        plan = planning.read(arguments.plan)
        asked = planning.parts(plan, wanted)
        wanted = [part.name for part in asked if part.test]
        if not wanted:
            lines = [f"{part.name}: {why}" for part in asked for why in part.why]
            return Outcome("nothing", "\n".join(lines), {"suites": []})
    junit = arguments.junit or context.handed_on / "junit" / f"{'-'.join(wanted) or 'all'}.xml"
    return suites.main(context, wanted, junit, arguments.keyword)
