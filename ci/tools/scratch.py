"""Private folders for one use: gone with the block, and after a kill when a later one begins."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "cloudopshub-ci-"
YOUNG_S = 60.0  # a folder this new may be one that its maker has not locked yet


@contextlib.contextmanager
def folder(kind: str) -> Iterator[Path]:
    """An empty folder for this user's eyes; those of its kind that killed runs left go first.

    Who uses a folder holds a lock on it, which the kernel lets go of however its process ends.
    """
    prefix = f"{PREFIX}{kind}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, another user's, or gone by now
            if time.time() - left.lstat().st_mtime > YOUNG_S:
                with _locked(left):
                    shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with contextlib.ExitStack() as lock:
            with contextlib.suppress(OSError):  # where folders have no locks, none is swept either
                lock.enter_context(_locked(made))
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock of a folder for the block; `OSError` when it is held, or is no folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
