"""Processes that end with the launcher, and groups of them that are ended whole.

`python -I leash.py SIGNAL UID GID -- PROGRAM ARGUMENT…` turns itself into the program. On Linux the
kernel sends it SIGNAL when the launcher ends, even by `kill -9`. UID and GID (-1: stay) are for
PostgreSQL, which refuses to run as root. Signals that `nohup` or a build server had ignored end the
program again.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1
STAY = (-1, -1)
STOP_TIMEOUT_S = 12.0


def command(argv: Sequence[str], number: int, ids: tuple[int, int] = STAY) -> list[str]:
    """The argument list that runs `argv` on the leash, as the account with those UID and GID."""
    return [sys.executable, "-I", __file__, str(int(number)), *map(str, ids), "--", *argv]


def die_with_parent(number: int) -> None:
    """The kernel sends this process `number` when its parent ends. On Linux; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def signal_group(group: int, number: int) -> bool:
    """Send `number` to the process group; False when it no longer exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def stop(groups: Mapping[int, int]) -> set[int]:
    """None of `groups` (id → its stop signal) is left, databases last; which had to be killed."""
    databases = {group for group, number in groups.items() if number == signal.SIGINT}
    killed = set()
    for wave in (set(groups) - databases, databases):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        left = {group for group in wave if signal_group(group, groups[group])}
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = {group for group in left if signal_group(group, 0)}
        killed |= {group for group in left if signal_group(group, signal.SIGKILL)}
    return killed


def main(argv: list[str]) -> None:
    """Become the program; nothing returns."""
    number, uid, gid = map(int, argv[:3])
    program, launcher = argv[4:], os.getppid()
    for often_ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(often_ignored, signal.SIG_DFL)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    die_with_parent(number)  # after setuid, which would clear it
    if sys.platform == "linux" and os.getppid() != launcher:
        raise SystemExit(1)
    os.execv(program[0], program)  # noqa: S606 (an argument list of ours; no shell is wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
