"""Process groups: signalled, and ended whole."""

import os
import signal
import time
from collections.abc import Mapping

STOP_TIMEOUT_S = 12.0


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
