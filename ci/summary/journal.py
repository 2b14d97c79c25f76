"""The journal of a build: how each command ended, a line each, so that it can be summed up."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci.context import Context
from ci.errors import CiError
from ci.outcome import Outcome

KEYS = {"build", "at", "command", "argv", "took_s", "status", "exit_code", "message"}
BYTES_MAX = 1_000_000  # of old builds in a workspace that is kept


def file(context: Context) -> Path:
    """Where they stand."""
    return context.handed_on / "outcomes.jsonl"


def record(
    context: Context, command: str, argv: Sequence[str], ended: Outcome | CiError, took_s: float
) -> None:
    """Add a line; a disk that is full does not change how the command ended."""
    line = {
        "build": context.environ.get("BUILD_NUMBER"),
        "at": context.now().isoformat(timespec="seconds"),
        "command": command,
        "argv": list(argv),
        "took_s": round(took_s, 1),
        "status": ended.status,
        "exit_code": ended.exit_code if isinstance(ended, CiError) else 0,
        "message": str(ended) if isinstance(ended, CiError) else ended.text,
    }
    path = file(context)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > BYTES_MAX:
            path.unlink()
        # a line of its own, even where a killed run left half of one
        between = "\n" if path.exists() and path.read_bytes()[-1:] not in {b"", b"\n"} else ""
        with path.open("a", encoding="utf-8", errors="backslashreplace") as appended:
            appended.write(f"{between}{json.dumps(line, ensure_ascii=False)}\n")


def of_build(context: Context) -> list[dict[str, Any]]:
    """The lines of this build, in the order they came."""
    try:
        lines = file(context).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries = [entry for line in lines if (entry := _entry(line)) is not None]
    return [line for line in entries if line["build"] == context.environ.get("BUILD_NUMBER")]


def _entry(line: str) -> dict[str, Any] | None:
    """One line; None where a killed run, or a test that writes anywhere, left something else."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= KEYS else None
