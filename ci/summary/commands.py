"""`ci summary`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ci.context import Context
from ci.outcome import Outcome
from ci.summary import journal, junit, words


@click.command()
def summary(context: Context) -> Outcome:
    """Says how each command of this build ended, failed ones last and in full, and what to do next.

    A test run is told with its failed tests. The Jenkinsfile prints it whatever happened, so that
    the end of a console holds the reason.
    """
    lines = [
        line | {"failed": _failed_tests(context, line)}
        for line in journal.of_build(context)
        if line["command"] != "summary"
    ]
    failed = [line for line in lines if line["exit_code"]]
    return Outcome(
        status="failures" if failed else "well" if lines else "nothing",
        text=words.text(lines),
        facts={"commands": lines, "failed": len(failed)},
    )


def _failed_tests(context: Context, line: Mapping[str, Any]) -> Sequence[str]:
    """The failed tests of a test run, from the file its command line names."""
    words = list(line["argv"])
    if line["command"] != "test" or not line["exit_code"] or "--junit" not in words[:-1]:
        return ()
    return junit.failed(context.root / words[words.index("--junit") + 1])
