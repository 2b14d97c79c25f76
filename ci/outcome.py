"""What a command did: one value, told to people as text and to programs as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ci.errors import CiError


@dataclass(frozen=True)
class Outcome:
    """The end of a command that did not fail. facts: JSON values.

    status: one word, a name of the command's own: `done`, `nothing`, `bumped`, `already`, …
    text: for a person, without a final newline; its first line is the headline in a summary.
    """

    exit_code: ClassVar[int] = 0

    status: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


def as_json(command: str, ended: Outcome | CiError) -> dict[str, Any]:
    """JSON values that tell how a command ended: for `--json`, and for the journal of a build."""
    return {
        "command": command,
        "status": ended.status,
        "exit_code": ended.exit_code,
        "message": str(ended),
    }


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(row).rstrip() for row in padded]
