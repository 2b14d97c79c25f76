"""The journal of a build: how each command ended, a line each, so that it can be summed up."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from ci.context import Context
from ci.errors import CiError
from ci.outcome import Outcome, as_json

FILE = "outcomes.jsonl"
KEYS = {"build", "command", "argv", "took_s", "status", "exit_code", "message"}
BYTES_MAX = 1_000_000  # of old builds in a workspace that is kept


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
    file = context.handed_on / FILE
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_bytes() if file.exists() else b""
        # a line of its own, even where a killed run left half of one
        between = "" if before[-1:] in {b"", b"\n"} else "\n"
        with file.open("w" if len(before) > BYTES_MAX else "a", encoding="utf-8") as opened:
            opened.write(f"{between}{json.dumps(line)}\n")


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
