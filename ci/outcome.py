"""What a command did: one value, told to people as text and to programs as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.errors import CiError

Told = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The end of a command that did not fail.

    status: one word, a name of the command's own: `done`, `nothing`, `bumped`, `already`, …
    text: for a person, without a final newline. facts: JSON values.
    """

    status: str
    text: str
    facts: Told = field(default_factory=dict)


def as_json(command: str, ended: Outcome | CiError, *, dry_run: bool) -> str:
    """One JSON object: command, status, exit_code, dry_run, message, and the command's facts."""
    head = {
        "command": command,
        "status": ended.status,
        "exit_code": ended.exit_code if isinstance(ended, CiError) else 0,
        "dry_run": dry_run,
        "message": str(ended) if isinstance(ended, CiError) else ended.text,
    }
    clash = head.keys() & ended.facts.keys()
    assert not clash, f"facts may not be called {clash}"
    return json.dumps(head | dict(ended.facts), indent=2, ensure_ascii=False)
