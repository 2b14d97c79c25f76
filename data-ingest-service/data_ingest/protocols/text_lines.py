"""Lines of text that Graphite and StatsD senders write to a socket, which nobody answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LINE_BYTES_MAX: Final = 8192
MALFORMED_LINE: Final = "malformed_line"
_QUOTED_BYTES: Final = 100


class Received(NamedTuple):
    """Lines, each with its newline, but for the last one where its sender went away within it."""

    text: bytes
    received_ms: int


@dataclass(slots=True)
class RefusedLines:
    """Lines that cannot be taken, by reason, and why the first was."""

    counts: dict[str, int] = field(default_factory=dict)
    first_error: str = ""

    def add(self, reason: str, line: bytes, why: str) -> None:
        """Count one more line."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        if not self.first_error:
            shown = line[:_QUOTED_BYTES].decode(errors="replace")
            self.first_error = f"{why}: {shown + '…' * (len(line) > _QUOTED_BYTES)!r}"


def whole_lines(text: bytes, refused: RefusedLines) -> Sequence[bytes]:
    """The lines that can be looked at, blank ones too; others are refused."""
    *lines, cut = text.split(b"\n")
    if cut:
        refused.add("incomplete_line", cut, "the connection ended within a line")
    if lines and len(max(lines, key=len)) > LINE_BYTES_MAX:
        for line in lines:
            if len(line) > LINE_BYTES_MAX:
                refused.add("line_too_long", line, f"a line is over {LINE_BYTES_MAX} bytes")
        lines = [line for line in lines if len(line) <= LINE_BYTES_MAX]
    return lines
