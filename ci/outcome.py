"""What a command did: one value, told to people as text and to programs as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ci.errors import CiError


@dataclass(frozen=True)
class Outcome:
    """The end of a command that did not fail.

    status: one word, a name of the command's own: `done`, `nothing`, `bumped`, `already`, …
    text: for a person, without a final newline; its first line is the headline in a summary.
    facts: JSON values.
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
