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
    if not (data_dir / "lock").exists():
        return False
    try:
        os.close(take(data_dir))
    except OutsideFault:
        return True
    return False


def replace(path: Path, text: str, *, durable: bool = False) -> None:
    """`path` holds `text`, whole at every moment, readable by its owner only; or what it held."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """`path` holds `content` in the way of `replace`."""
    replace(path, json.dumps(content, indent=1))


def read(path: Path) -> dict[str, Any]:
    """The content of `path`; empty when there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def launcher(content: Mapping[str, Any]) -> psutil.Process | None:
    """The launcher that wrote `content`, if it still runs and its pid was not given to another."""
    try:
        process = psutil.Process(int(content["launcher"]))
        same = abs(process.create_time() - float(content["launcher_created"])) < 1
    except (psutil.Error, KeyError, ValueError):
        return None
    return process if same else None
