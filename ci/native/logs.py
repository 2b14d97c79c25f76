"""Log lines as people read them, and files that cannot fill the disk.

Processes append to their files themselves, so a stopped or suspended launcher never blocks one,
and what a process said last is there even after the launcher is gone.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES_MAX = 20_000_000
READ_BYTES_MAX = 262_144
HTTP_ERRORS = 400
COLOURS = {"das": "36", "dis": "32", "aps": "35", "aps-worker": "95", "ubs": "33", "ui": "34"}
LEVEL_COLOURS = {"warning": "33", "error": "31", "critical": "31;1", "debug": "2"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")


def render(line: str, name: str, *, colour: bool) -> str:
    """One line of the process `name` for a person: a JSON line unfolded, others as they are.

    Control characters are taken out: a log may quote what a client sent.
    """

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    prefix = paint(f"{name:>10} │", COLOURS.get(name, "90"))
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return f"{prefix} {printable(line)}"
    moment = str(fields.pop("timestamp", ""))[11:19]
    level = str(fields.pop("level", "info"))
    event = str(fields.pop("event", ""))
    trace = str(fields.pop("exception", ""))
    fields.pop("request_id", None)
    facts = " ".join(
        f"{key}={value if isinstance(value, int | float) else _short(value)}"
        for key, value in fields.items()
    )
    head = " ".join(part for part in (moment, "" if level == "info" else level, event) if part)
    text = paint(printable(head), LEVEL_COLOURS.get(level, "0"))
    rendered = f"{prefix} {text} {printable(facts)}".rstrip()
    return "\n".join([rendered, *(f"{prefix}   {printable(row)}" for row in trace.splitlines())])


def reason_line(line: str) -> str:
    """A line as it stands in a reason: indented, without a name; empty for answered probes."""
    if '"route": "/ready"' in line:
        return ""
    return "  " + render(line, "", colour=False).replace("\n" + " " * 10, "\n  ").lstrip()


def is_routine(line: str) -> bool:
    """Whether the line tells of a request that went well: counted, kept, but not news."""
    if '"event": "request"' not in line:
        return False
    try:
        status = json.loads(line).get("status")
    except (ValueError, AttributeError):
        return False
    return isinstance(status, int) and status < HTTP_ERRORS


def printable(text: str) -> str:
    """One line without escape sequences, control characters and tabs."""
    return ESCAPES.sub("", text.expandtabs())


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if " " in text or "\n" in text else text


@dataclass
class Follower:
    """Reads what is appended to one file; starts at `position`, survives the file being cut."""

    name: str
    path: Path
    position: int = 0
    _rest: bytes = b""

    def new_lines(self) -> Iterator[str]:
        """The whole lines that were appended since the last call, a bounded amount at a time."""
        try:
            size = self.path.stat().st_size
            if size < self.position:
                self.position, self._rest = 0, b""
            if size == self.position:
                return
            with self.path.open("rb") as file:
                file.seek(self.position)
                data = file.read(READ_BYTES_MAX)
        except OSError:
            return
        self.position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > READ_BYTES_MAX:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")

    @property
    def unfinished(self) -> str:
        """What there is of the line that has no end yet."""
        return self._rest.decode(errors="replace")

    def bound(self) -> None:
        """Keep the newest part as `.1` and empty the file once it is too long.

        The writer appends (O_APPEND), so it goes on at the start; lines written during the copy may
        be lost, which is the price of a file that the writer need not reopen.
        """
        if self.position < FILE_BYTES_MAX:
            return
        older = self.path.with_suffix(self.path.suffix + ".1")
        older.write_bytes(self.path.read_bytes()[-FILE_BYTES_MAX:])
        older.chmod(0o600)
        os.truncate(self.path, 0)
        self.position = 0


def tail(path: Path, count: int, start: int = 0) -> list[str]:
    """The last `count` lines at or after byte `start`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - READ_BYTES_MAX))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
