"""What a run tells other terminals: who runs, where, since when. One lock, one file."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci.errors import OutsideFault


def take(data_dir: Path) -> int:
    """The descriptor of the lock of `data_dir`, which names us; `OutsideFault` if another has it.

    The kernel lets go of it however the run ends.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutsideFault(f"a run already uses {data_dir}; `make status` shows it") from None
    os.pwrite(descriptor, f"{os.getpid():<10}".encode(), 0)
    return descriptor


def launcher(data_dir: Path) -> int | None:
    """The pid of the run that uses `data_dir` now; None when none does."""
    try:
        with (data_dir / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (FileNotFoundError, PermissionError):  # none, or another user's
        pass
    except ValueError:
        raise OutsideFault(f"a run in {data_dir} is just starting; ask again") from None
    return None


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


def read(path: Path) -> dict[str, Any]:
    """The JSON in `path`; empty when there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def write(path: Path, content: Mapping[str, Any]) -> None:
    """`path` holds `content` in the way of `replace`."""
    replace(path, json.dumps(content, indent=1))
