"""`ci summary`: what each command of a build came to, from a journal with a line for each."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ci.context import Context
from ci.errors import CiError
from ci.outcome import Outcome, as_json

FILE = "outcomes.jsonl"
KEYS = {"build", "command", "argv", "took_s", "status", "exit_code", "message"}
ADVICE = {
    2: "usage: the Jenkinsfile or the call asks for something that does not exist",
    3: "refused by a rule: running it again will not help; the text says which rule",
    4: "outside fault: a registry, repository or engine failed; running it again may help",
    5: "defect: the change is wrong: a test, a check or a build failed",
}
MESSAGE_LINES_MAX = 40


@click.command()
def summary(context: Context) -> Outcome:
    """Says how each command of this build ended, failed ones last and in full, and what to do next.

    A test run is told with its failed tests. The Jenkinsfile prints it whatever happened, so that
    the end of a console holds the reason.
    """
    lines = [line for line in of_build(context) if line["command"] != "summary"]
    failed = sum(1 for line in lines if line["exit_code"])
    status = "failures" if failed else "well" if lines else "nothing"
    return Outcome(status, text(lines), {"commands": lines, "failed": failed})


def record(
    context: Context, command: str, argv: Sequence[str], ended: Outcome | CiError, took_s: float
) -> None:
    """Add a line; a disk that is full does not change how the command ended."""
    line = as_json(command, ended) | {
        "build": context.environ.get("BUILD_NUMBER"),
        "at": context.now().isoformat(timespec="seconds"),
        "argv": list(argv),
        "took_s": round(took_s, 1),
    }
    with contextlib.suppress(OSError):
        context.handed_on.mkdir(parents=True, exist_ok=True)
        with (context.handed_on / FILE).open("ab") as journal:
            # a line of its own, even where a killed run left half of one
            journal.write(f"\n{json.dumps(line)}\n".encode())


def of_build(context: Context) -> list[dict[str, Any]]:
    """The lines of this build, in the order they came; anything else in the file is left out."""
    entries = []
    with contextlib.suppress(OSError):
        for line in (context.handed_on / FILE).read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                entries.append(json.loads(line))
    build = context.environ.get("BUILD_NUMBER")
    whole = [entry for entry in entries if isinstance(entry, dict) and entry.keys() >= KEYS]
    return [entry for entry in whole if entry["build"] == build]


def text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line for each command in the order they ended; then each failed one with its message."""
    if not lines:
        return "no command of `ci` ended in this build; the console above says how far it came"
    paragraphs, failures = ["\n".join(_headline(line) for line in lines)], []
    for line in (line for line in lines if line["exit_code"]):
        rows = str(line["message"]).strip().splitlines()
        over, advice = len(rows) - MESSAGE_LINES_MAX, ADVICE.get(line["exit_code"], "see below")
        cut = [f"… ({over} lines before)"] if over > 0 else []
        body = [f"    {row}" for row in [*cut, *rows[-MESSAGE_LINES_MAX:]]]
        head = [f"✗ {_called(line)}", f"  exit code {line['exit_code']}, {advice}"]
        failures.append("\n".join([*head, *body]))
    count = f"{len(failures)} of {len(lines)} commands failed"
    return "\n\n".join([*paragraphs, *failures, count if failures else "all commands ended well"])


def _headline(line: Mapping[str, Any]) -> str:
    mark, message = "✗" if line["exit_code"] else "✓", str(line["message"]).strip()
    ended = ": ".join(filter(None, (line["status"], message.partition("\n")[0])))
    return f"  {mark} {line['took_s']:6.1f} s  {_called(line)}  {ended}"[:200]


def _called(line: Mapping[str, Any]) -> str:
    return " ".join(["python -m ci", *map(str, line["argv"] or [line["command"]])])
