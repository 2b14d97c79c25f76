"""The end of a console: what each command came to, and what a failure asks of the reader: PURE."""

from collections.abc import Mapping, Sequence
from typing import Any

CLASSES = {
    2: ("usage", "the Jenkinsfile or the call asks for something that does not exist"),
    3: ("refused by a rule", "running it again will not help; the text says which rule"),
    4: ("outside fault", "a registry, repository or engine failed; running it again may help"),
    5: ("defect", "the change is wrong: a test, a check or a build failed"),
}
MESSAGE_LINES_MAX = 40


def text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line for each command in the order they ended; then each failed one with its message.

    lines: of the journal; one of a test run may have `failed`, its failed tests.
    """
    if not lines:
        return "no command of `ci` ended in this build; the console above says how far it came"
    failed = [line for line in lines if line["exit_code"]]
    parts = ["\n".join(_row(line) for line in lines)]
    parts += [_failure(line) for line in failed]
    count = (
        f"{len(failed)} of {len(lines)} commands failed" if failed else "all commands ended well"
    )
    return "\n\n".join([*parts, count])


def _row(line: Mapping[str, Any]) -> str:
    mark = "✗" if line["exit_code"] else "✓"
    first = next(iter(str(line["message"]).strip().splitlines()), "")
    said = f"{line['status']}{': ' + first if first else ''}"
    return f"  {mark} {line['took_s']:6.1f} s  {_called(line)}  {said}"[:200]


def _failure(line: Mapping[str, Any]) -> str:
    name, advice = CLASSES.get(line["exit_code"], ("failed", "the text says why"))
    said = [*str(line["message"]).strip().splitlines(), *line.get("failed", ())]
    over = len(said) - MESSAGE_LINES_MAX
    cut = [f"… ({over} lines before)"] if over > 0 else []
    body = "\n".join(f"    {text}" for text in [*cut, *said[-MESSAGE_LINES_MAX:]])
    return f"✗ {_called(line)}\n  exit code {line['exit_code']}, {name}: {advice}\n{body}".rstrip()


def _called(line: Mapping[str, Any]) -> str:
    return " ".join(["python -m ci", *map(str, line["argv"] or [line["command"]])])
