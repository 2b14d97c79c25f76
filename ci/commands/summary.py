"""Says how each command of this build ended, failed ones last and in full, and what to do next.

The Jenkinsfile prints it whatever happened, so that the end of a console holds the reason.
"""

import argparse

from ci.context import Context
from ci.outcome import Outcome

HELP = "how each command of this build ended"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes."""


def main(_arguments: argparse.Namespace, context: Context) -> Outcome:
    """The build's commands are told, a line each; failed ones again with all they said."""
    from ci import journal  # noqa: PLC0415
    from ci.delivery import summary  # noqa: PLC0415

    lines = [line for line in journal.of_build(context) if line["command"] != "summary"]
    failed = [line for line in lines if line["exit_code"]]
    return Outcome(
        status="failures" if failed else "well" if lines else "nothing",
        text=summary.text(lines),
        facts={"commands": lines, "failed": len(failed)},
    )
