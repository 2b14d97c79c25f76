"""Log lines as people read them, and files that cannot fill the disk.

Processes append to their files themselves, so a stopped or suspended launcher never blocks one,
and what a process said last is there even after the launcher is gone.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

FILE_BYTES_MAX = 20_000_000
READ_BYTES_MAX = 262_144
COLOURS = {
    "das": "36",
    "das-rules": "96",
    "dis": "32",
    "aps": "35",
    "aps-worker": "95",
    "ubs": "33",
    "ui": "34",
}
LEVEL_COLOURS = {"warning": "33", "error": "31", "critical": "31;1", "debug": "2"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")


def render(line: str, name: str, *, colour: bool) -> str:
    """One line of `name` for a person: a JSON line unfolded, others as they are, no controls."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour else text

    prefix = paint(f"{name:>10} │", COLOURS.get(name, "90"))
    fields = _fields(line)
    if fields is None:
        return f"{prefix} {printable(line)}"
    moment, level = str(fields.pop("timestamp", ""))[11:19], str(fields.pop("level", "info"))
    event, trace = str(fields.pop("event", "")), str(fields.pop("exception", ""))
    fields.pop("request_id", None)
    facts = " ".join(f"{key}={_short(value)}" for key, value in fields.items())
    head = " ".join(part for part in (moment, "" if level == "info" else level, event) if part)
    text = paint(printable(head), LEVEL_COLOURS.get(level, "0"))
    rendered = f"{prefix} {text} {printable(facts)}".rstrip()
    return "\n".join([rendered, *(f"{prefix}   {printable(row)}" for row in trace.splitlines())])


def _fields(line: str) -> dict[str, object] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if " " in text or "\n" in text else text


def printable(text: str) -> str:
    """One line without escape sequences, control characters and tabs."""
    return ESCAPES.sub("", text.expandtabs())


def reason_line(line: str) -> str:
    """A line as it stands in a reason: indented, without a name; empty for answered probes."""
    if '"route": "/ready"' in line:
        return ""
    return "  " + render(line, "", colour=False).replace("\n" + " " * 10, "\n  ").lstrip()


def is_routine(line: str) -> bool:
    """Whether the line tells of a request that went well: counted, kept, but not news."""
    fields = _fields(line) or {}
    status = fields.get("status")
    return fields.get("event") == "request" and isinstance(status, int) and status < 400


class Follower:
    """Reads what is appended to a file from now on, and survives the file being cut."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.unfinished = b""  # the line that has no end yet
        self._position = path.stat().st_size if path.exists() else 0

    def new_lines(self) -> Iterator[str]:
        """The whole lines that were appended since the last call, a bounded amount at a time."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:
                    self._position, self.unfinished = 0, b""
                file.seek(self._position)
                data = file.read(READ_BYTES_MAX)
        except OSError:
            return
        self._position += len(data)
        *lines, self.unfinished = (self.unfinished + data).split(b"\n")
        if len(self.unfinished) > READ_BYTES_MAX:
            lines, self.unfinished = [*lines, self.unfinished], b""
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")


def bound(path: Path) -> None:
    """A file that is too long is empty, its newest part kept as `.1` where the disk has room.

    The writer appends (O_APPEND), so it goes on at the start; what it writes meanwhile is lost.
    """
    with contextlib.suppress(OSError):  # not there, or a full disk
        if path.stat().st_size < FILE_BYTES_MAX:
            return
        try:
            older = os.open(f"{path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with path.open("rb") as file, os.fdopen(older, "wb") as copy:
                file.seek(-FILE_BYTES_MAX, os.SEEK_END)
                copy.write(file.read(FILE_BYTES_MAX))
        finally:
            os.truncate(path, 0)


def tail(path: Path, count: int, start: int = 0) -> list[str]:
    """The last `count` lines at or after byte `start`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - READ_BYTES_MAX))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
