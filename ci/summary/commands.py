"""`ci summary`."""

import click

from ci.context import Context
from ci.outcome import Outcome
from ci.summary import journal, words


@click.command()
def summary(context: Context) -> Outcome:
    """Says how each command of this build ended, failed ones last and in full, and what to do next.

    The Jenkinsfile prints it whatever happened, so that the end of a console holds the reason.
    """
    lines = [line for line in journal.of_build(context) if line["command"] != "summary"]
    failed = [line for line in lines if line["exit_code"]]
    return Outcome(
        status="failures" if failed else "well" if lines else "nothing",
        text=words.text(lines),
        facts={"commands": lines, "failed": len(failed)},
    )
