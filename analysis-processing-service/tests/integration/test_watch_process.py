"""A watch in real processes: the worker claims it, its child asks, judges and stores."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from neighbours import TENANT_A, Port
from sqlalchemy import text
from watching import STEP_MS, World, steady

SERVICE = Path(__file__).resolve().parents[2]


class Present(World):
    """The same world, now."""

    now = property(lambda _: datetime.now(UTC), lambda _, __: None)


def until(condition, seconds=300.0):
    """The condition's first true value; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.1)
    raise AssertionError("not in time")


@pytest.fixture
def start(settings, engine, environment):
    """Starts a worker; `start.world` is what it asks."""
    world = Present(settings, engine)
    world.series = [({"__name__": "cpu", "host": "a"}, steady)]
    workers = []
    with Port(world) as port:
        urls = {f"{name}_URL": port.url for name in ("UBS", "DAS", "DIS")}
        bounds = {"APS_WATCH_LEARN_S": "3600", "APS_WORKER_LEASE_S": "1"}

        def one():
            command = [sys.executable, "-m", "analysis_processing.worker"]
            workers.append(subprocess.Popen(command, cwd=SERVICE, env=environment | urls | bounds))
            return workers[-1]

        one.world = world
        yield one
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(60)


def test_a_worker_runs_what_is_due_and_another_goes_on_after_its_death(start):
    """The watch is judged up to now; killed, the worker's successor takes it where it stood."""
    watch = start.world.watch(TENANT_A)
    doomed = start()
    stored = until(lambda: (one := start.world.read(watch)).ran_at and one)
    assert (stored.error, stored.series) == (None, 1)
    assert stored.next_ms > time.time() * 1000 - 30 * STEP_MS
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait(60)
    with start.world.engine.begin() as db:
        db.execute(text("UPDATE analysis.watch SET due_at = now(), ran_at = NULL"))
    start()
    again = until(lambda: (one := start.world.read(watch)).ran_at and one)
    assert again.error is None
    assert again.next_ms >= stored.next_ms
