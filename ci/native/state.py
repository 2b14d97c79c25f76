"""What a run tells other terminals: who runs, where, since when. One file, one lock."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from ci.errors import OutsideFault


def take(data_dir: Path) -> int:
    """The descriptor of the lock of `data_dir`; `OutsideFault` when another run has it.

    The kernel lets go of it however the run ends.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutsideFault(f"a run already uses {data_dir}; `make status` shows it") from None
    return descriptor


def is_running(data_dir: Path) -> bool:
    """Whether a run uses `data_dir` now."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write(path: Path, state: Mapping[str, Any]) -> None:
    """`path` holds `state`, whole at every moment, readable by its owner only: it carries a key."""
    _replace(path, json.dumps(state, indent=1))


def write_pid(path: Path, pid: int | None) -> None:
    """`path` holds the pid, whole at every moment; there is no such file while nobody has one."""
    if pid is None:
        path.unlink(missing_ok=True)
    else:
        _replace(path, f"{pid}\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.rename(path)


def read(path: Path) -> dict[str, Any] | None:
    """The state in `path`; None when there is none."""
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return state


def launcher(state: Mapping[str, Any]) -> psutil.Process | None:
    """The launcher that wrote `state`, if it still runs and its number was not given to another."""
    try:
        process = psutil.Process(int(state["launcher"]))
        same = abs(process.create_time() - float(state["launcher_created"])) < 1
    except (psutil.Error, KeyError, ValueError):
        return None
    return process if same else None
