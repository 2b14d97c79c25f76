"""Leaves no process behind, however the launcher ends.

Run as a script in a session of its own. It reads one line on stdin for each process group that
starts (`+ PID SIGNAL`) or has ended (`- PID`). When stdin ends, the launcher is gone: whatever is
still listed is asked to stop by its signal, the last started first, and killed if it does not.
Standard library only: it must start in milliseconds and outlive everything.
"""

import contextlib
import os
import signal
import sys
import time

STOP_TIMEOUT_S = 15.0


def signal_group(group: int, number: int) -> bool:
    """Send `number` to the process group; False when it no longer exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # root's stand-in changed user; only a non-root guard could meet this
        return True
    return True


def stop(groups: dict[int, int]) -> None:
    """None of `groups` (id → the signal that asks it to stop) is left, databases last."""
    databases = {group for group, number in groups.items() if number == signal.SIGINT}
    for wave in (set(groups) - databases, databases):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for group in wave:
            signal_group(group, groups[group])
        left = wave
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = {group for group in left if signal_group(group, 0)}
        for group in left:
            signal_group(group, signal.SIGKILL)


def main() -> None:
    """Keep the list until stdin ends, then stop what is on it."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    for line in sys.stdin:
        sign, _, rest = line.strip().partition(" ")
        with contextlib.suppress(ValueError):
            if sign == "+":
                group, number = map(int, rest.split())
                groups[group] = number
            elif sign == "-":
                groups.pop(int(rest), None)
    stop(groups)


if __name__ == "__main__":
    main()
