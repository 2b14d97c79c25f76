"""What the tests let workers do: functions of a module, since workers are told their names."""

import asyncio
import os
import signal
import threading
import time
import weakref


async def stuck(limits):
    """Computes for ever, and looks at no checkpoint."""
    await limits.run(threading.Event().wait)


async def endless(limits):
    """Computes for ever, with checkpoints."""

    def work():
        while True:
            limits.checkpoint()

    await limits.run(work)


async def greedy(limits):
    """Takes memory as long as there is some."""
    await limits.run(lambda: [bytearray(64 * 2**20) for _ in range(10_000)])


async def dies(limits):
    """Ends its process."""
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(60)


async def pid(limits):
    """Tells which process it is in."""
    return os.getpid()


async def large(limits):
    """An answer of many pieces, all alike."""
    return [b"x" * 2**20] * 64


class Unreadable:
    """What can be written and not be read."""

    def __reduce__(self):
        return int, ("no number",)


async def unreadable(limits):
    """Answers what the service cannot read."""
    return Unreadable()


class Thing:
    """What a query has read."""


READ = []


async def moves(limits):
    """Reads something, then computes for a second."""

    def work():
        thing = Thing()
        READ.append(weakref.ref(thing))
        ends_s = time.process_time() + 1
        while time.process_time() < ends_s:
            limits.checkpoint()
        return type(thing).__name__

    return await limits.run(work)
