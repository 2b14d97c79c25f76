"""How the edit of a manifest says no: a status word, and where in the file."""

import re
from dataclasses import dataclass
from typing import Any

from ci.errors import Refused

UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")


@dataclass(frozen=True)
class Position:
    """A place people find in an editor: both counted from 1, the column in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


def refused(text: str, status: str, at: Position | None = None, **facts: Any) -> Refused:
    """A refusal whose text starts with the place, the way compilers write it."""
    text = shown(text)
    if at is None:
        return Refused(text, status=status, **facts)
    where = {"line": at.line, "column": at.column}
    return Refused(f"{at}: {text}", status=status, **where, **facts)


def shown(text: str) -> str:
    """`text` in one line that a terminal prints and does not obey: keys are other people's."""
    return UNSHOWN.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
