"""`ci summary`: what each command of a build came to, and what a failure asks of its reader."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click

from ci.context import Context
from ci.outcome import Outcome
from ci.summary import journal

ADVICE = {
    2: "usage: the Jenkinsfile or the call asks for something that does not exist",
    3: "refused by a rule: running it again will not help; the text says which rule",
    4: "outside fault: a registry, repository or engine failed; running it again may help",
    5: "defect: the change is wrong: a test, a check or a build failed",
}
MESSAGE_LINES_MAX, LINE_MAX, TESTS_MAX = 40, 160, 10


@click.command()
def summary(context: Context) -> Outcome:
    """Says how each command of this build ended, failed ones last and in full, and what to do next.

    A test run is told with its failed tests. The Jenkinsfile prints it whatever happened, so that
    the end of a console holds the reason.
    """
    lines = [line for line in journal.of_build(context) if line["command"] != "summary"]
    for line in lines:
        words = line["argv"]
        if line["command"] == "test" and line["exit_code"] and "--junit" in words[:-1]:
            junit = context.root / words[words.index("--junit") + 1]
            line["message"] = "\n".join([str(line["message"]), *failed_tests(junit)])
    failed = sum(1 for line in lines if line["exit_code"])
    status = "failures" if failed else "well" if lines else "nothing"
    return Outcome(status, text(lines), {"commands": lines, "failed": failed})


def text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line for each command in the order they ended; then each failed one with its message."""
    if not lines:
        return "no command of `ci` ended in this build; the console above says how far it came"
    failed = [line for line in lines if line["exit_code"]]
    count = f"{len(failed)} of {len(lines)} commands failed"
    paragraphs = [
        "\n".join(_headline(line) for line in lines),
        *(_failure(line) for line in failed),
        count if failed else "all commands ended well",
    ]
    return "\n\n".join(paragraphs)


def failed_tests(junit: Path) -> list[str]:
    """`test: its first assertion` for each test that failed; the last line counts those left out.

    Nothing where the file is missing or no XML: a run that was killed wrote none, or half of one.
    """
    try:
        failed = list(_failed(ET.parse(junit).getroot()))  # noqa: S314 (pytest wrote it, just now)
    except (OSError, ET.ParseError):
        return []
    more = len(failed) - TESTS_MAX
    return failed[:TESTS_MAX] + ([f"… and {more} more"] if more > 0 else [])


def _failed(root: ET.Element) -> Iterator[str]:
    for case in root.iter("testcase"):
        for fault in (*case.findall("failure"), *case.findall("error")):
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            yield f"{name}: {_first_line(fault.get('message') or fault.text)}"[:LINE_MAX]


def _headline(line: Mapping[str, Any]) -> str:
    mark = "✗" if line["exit_code"] else "✓"
    ended = ": ".join(filter(None, (line["status"], _first_line(str(line["message"])))))
    return f"  {mark} {line['took_s']:6.1f} s  {_called(line)}  {ended}"[:200]


def _failure(line: Mapping[str, Any]) -> str:
    rows = str(line["message"]).strip().splitlines()
    over = len(rows) - MESSAGE_LINES_MAX
    cut = [f"… ({over} lines before)"] if over > 0 else []
    advice = ADVICE.get(line["exit_code"], "the text says why")
    body = [f"    {row}" for row in [*cut, *rows[-MESSAGE_LINES_MAX:]]]
    return "\n".join([f"✗ {_called(line)}", f"  exit code {line['exit_code']}, {advice}", *body])


def _first_line(message: str | None) -> str:
    return next(iter((message or "").strip().splitlines()), "")


def _called(line: Mapping[str, Any]) -> str:
    return " ".join(["python -m ci", *map(str, line["argv"] or [line["command"]])])
