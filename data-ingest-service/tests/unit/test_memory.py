"""Memory that was freed goes back to the system, also while a service serves."""

import asyncio
import subprocess
import sys
import threading

import pytest
import uvicorn

from data_ingest.chassis import memory
from data_ingest.chassis.probes import Drain
from data_ingest.chassis.serving import GIVE_BACK_TICKS, DrainingServer

FREED = """
from pathlib import Path
from data_ingest.chassis import memory
def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
blocks = [b"x" * 100_000 for _ in range(1_000)]
last = blocks.pop()  # above the others, which is where the C library gives back by itself
full = resident_mib()
blocks.clear()
freed = full - resident_mib()
memory.give_back()
print(freed, full - resident_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measured by /proc")
def test_what_is_freed_is_given_back():
    """95 MiB below one that is in use stay the process', and are the system's afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", FREED], check=True, capture_output=True, text=True, timeout=600
    )
    by_itself, given_back = map(float, done.stdout.split())
    assert by_itself < 30
    assert given_back > 80


def test_a_server_gives_back_now_and_then(monkeypatch):
    """Once in GIVE_BACK_TICKS, beside the event loop, which nothing holds up."""
    given, threads = threading.Event(), []

    def give_back() -> None:
        threads.append(threading.current_thread())
        given.set()

    monkeypatch.setattr(memory, "give_back", give_back)

    async def tick() -> None:
        server = DrainingServer(uvicorn.Config("none:none"), Drain(), 0)
        for counter in range(1, GIVE_BACK_TICKS):
            await server.on_tick(counter)
        assert not given.is_set()
        assert not await server.on_tick(GIVE_BACK_TICKS)
        assert await asyncio.to_thread(given.wait, 600)

    asyncio.run(tick())
    assert threads[0] is not threading.main_thread()
