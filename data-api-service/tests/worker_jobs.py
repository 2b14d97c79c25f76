"""What the tests let workers do: functions of a module, since workers are told their names."""

import asyncio
import os
import signal
import threading


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
