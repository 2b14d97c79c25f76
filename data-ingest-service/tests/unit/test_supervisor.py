"""Laws of the supervisor: tasks go on after a failure, and a stop has a bound."""

import asyncio

from data_ingest.background.supervisor import Stop, Supervisor, every
from data_ingest.errors import StoreUnavailable


async def test_a_task_that_fails_is_started_again() -> None:
    """Whatever a task raises, it runs again, and the others do not notice."""
    runs: list[str] = []
    fine = asyncio.Event()

    async def failing(stop: Stop) -> None:
        runs.append("failing")
        if len(runs) == 1:
            raise StoreUnavailable
        if len(runs) == 2:
            raise ZeroDivisionError
        fine.set()
        await stop.wait(60)

    supervisor = Supervisor(first_pause_s=0.001)
    supervisor.start("failing", failing)
    async with asyncio.timeout(600):
        await fine.wait()
    await supervisor.stop(1)
    assert len(runs) == 3


async def test_a_stop_asks_first_and_cancels_after_its_bound() -> None:
    """A task that listens ends by itself; one that does not is cancelled."""
    ended: list[str] = []

    async def listens(stop: Stop) -> None:
        assert await stop.wait(60)
        ended.append("listens")

    async def ignores(stop: Stop) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ignores")

    supervisor = Supervisor()
    supervisor.start("listens", listens)
    supervisor.start("ignores", ignores)
    await asyncio.sleep(0)
    async with asyncio.timeout(600):
        await supervisor.stop(0.05)
    assert ended == ["listens", "ignores"]


async def test_a_stop_during_the_pause_does_not_wait_for_it() -> None:
    """A task that is between two tries ends at once."""
    failed = asyncio.Event()

    async def failing(stop: Stop) -> None:
        failed.set()
        raise OSError("away")

    supervisor = Supervisor(first_pause_s=3600)
    supervisor.start("failing", failing)
    async with asyncio.timeout(600):
        await failed.wait()
        await supervisor.stop(2)


async def test_every_works_at_once_and_again() -> None:
    """Periodic work is done at the start, then after each interval, until the stop."""
    stop = Stop()
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1
        if done == 3:
            stop.set()

    async with asyncio.timeout(600):
        await every(stop, 0.0, work)
    assert done == 3
