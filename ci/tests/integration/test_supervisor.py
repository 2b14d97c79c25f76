"""Processes are kept alive, explained and ended; real ones, small ones."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from ci.errors import Defect
from ci.native import leash
from ci.native import supervisor as supervisor_module
from ci.native.supervisor import Child, Supervisor

ROOT = Path(__file__).resolve().parents[3]
FOREVER = "import signal; signal.pause()"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(supervisor_module, "BACKOFF_FIRST_S", 0.01)


async def ready(_pid):
    return None


def program(tmp_path, code, name="child", **changes):
    settings = {
        "name": name,
        "argv": (sys.executable, "-c", code),
        "cwd": tmp_path,
        "env": {"PATH": os.defpath},
        "log": tmp_path / f"{name}.log",
        "not_ready": ready,
    }
    return Child(**settings | changes)


async def until(holds, timeout_s=600):
    deadline = time.monotonic() + timeout_s
    for _ in iter(holds, True):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def said_by(tmp_path, name):
    """What that child has written so far."""
    path = tmp_path / f"{name}.log"
    return path.read_text() if path.exists() else ""


def run(scenario, write_state=lambda: None):
    """Run `scenario(supervisor, said)` and close the supervisor after it."""

    async def whole():
        said = []
        supervisor = Supervisor(said.append, write_state)
        try:
            return await scenario(supervisor, said)
        finally:
            await supervisor.close()

    return asyncio.run(whole())


def test_who_is_killed_comes_back_and_it_is_said(tmp_path):
    """A child that dies is started again with a new pid, and a person is told why."""

    async def scenario(supervisor, said):
        child = supervisor.start(program(tmp_path, FOREVER))
        await supervisor.wait_ready(["child"], 20)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.pid not in {first, None})
        assert child.restarts == 1
        assert said == ["child was killed by SIGKILL; starting it again in 0.01 s"]
        return child.pid

    assert not psutil.pid_exists(run(scenario))


def test_a_state_that_cannot_be_written_stops_no_supervision(tmp_path):
    """On a full disk who dies comes back; that others cannot see it is said once, and mended."""
    is_full = True

    def write_state():
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def scenario(supervisor, said):
        nonlocal is_full
        child = supervisor.start(program(tmp_path, FOREVER))
        for _ in range(3):
            await supervisor.wait_ready(["child"], 20)
            first = child.pid
            os.kill(first, signal.SIGKILL)
            await until(lambda first=first: child.pid not in {first, None})
        assert sum("No space left on device" in text for text in said) == 1
        assert not supervisor.is_published
        is_full = False
        supervisor.publish()
        assert supervisor.is_published

    run(scenario, write_state)


def test_who_was_ready_starts_its_backoff_afresh(tmp_path):
    """A process killed every few moments, and able to run, never waits for more than the first."""

    async def scenario(supervisor, said):
        child = supervisor.start(program(tmp_path, FOREVER))
        for _ in range(6):
            await supervisor.wait_ready(["child"], 20)
            first = child.pid
            os.kill(first, signal.SIGKILL)
            await until(lambda first=first: child.pid not in {first, None})
        assert said == ["child was killed by SIGKILL; starting it again in 0.01 s"] * 6

    run(scenario)


def test_what_cannot_be_started_now_is_tried_again(tmp_path):
    """No memory, no room for its log: the keeper goes on, and says what hinders."""

    async def scenario(supervisor, said):
        child = supervisor.start(program(tmp_path, FOREVER))
        await supervisor.wait_ready(["child"], 20)
        folder, child.log = child.log, tmp_path
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: sum("cannot be started" in text for text in said) >= 3)
        child.log = folder
        await until(lambda: child.pid is not None)

    run(scenario)


def test_who_cannot_start_is_explained(tmp_path):
    """Three ends before it was ever ready: the run is over, and its last words are the reason."""

    async def never(_pid):
        return "not listening yet"

    async def scenario(supervisor, _said):
        code = "import sys; print('first', flush=True); sys.exit('DATABASE_URL is not set')"
        supervisor.start(program(tmp_path, code, not_ready=never))
        with pytest.raises(Defect, match="child exited with 1") as caught:
            await supervisor.wait_ready(["child"], 20)
        assert str(caught.value).endswith("DATABASE_URL is not set")
        assert supervisor.failed.is_set()

    run(scenario)


def test_who_is_never_ready_is_named(tmp_path):
    """The wait is bounded, and says who was not ready, and why."""

    async def never(_pid):
        return "postgres: no answer"

    async def scenario(supervisor, _said):
        supervisor.start(program(tmp_path, FOREVER, not_ready=never))
        with pytest.raises(Defect, match=r"not ready in time \(postgres: no answer\)"):
            await supervisor.wait_ready(["child"], 0.5)

    run(scenario)


def test_who_does_not_stop_is_killed(tmp_path, monkeypatch):
    """A child that ignores its signal has until the bound."""
    monkeypatch.setattr(leash, "STOP_TIMEOUT_S", 0.5)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n"
    )

    async def scenario(supervisor, said):
        child = supervisor.start(program(tmp_path, code + "while True: signal.pause()"))
        await until(lambda: "deaf" in said_by(tmp_path, "child"))
        pid = child.pid
        await supervisor.close()
        assert said == ["child did not stop and was killed"]
        return pid

    assert not psutil.pid_exists(run(scenario))


def test_what_a_child_started_dies_with_it(tmp_path):
    """Workers that outlive their master would hold its port: the whole group ends."""
    code = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{FOREVER}']); {FOREVER}"
    )

    async def scenario(supervisor, _said):
        child = supervisor.start(program(tmp_path, code))
        await until(lambda: bool(child.pid and psutil.Process(child.pid).children()))
        grandchild = psutil.Process(child.pid).children()[0]
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: not is_alive(grandchild))

    run(scenario)


def test_databases_stop_last(tmp_path):
    """Who stops by SIGINT is asked only when all others have ended."""
    tell = "import signal, sys, time\ndef bye(*_):\n  print(time.time_ns()); sys.exit()\n"
    service = tell + "signal.signal(15, bye); print('up', flush=True); signal.pause()"
    base = tell + "signal.signal(2, bye); print('up', flush=True); signal.pause()"

    async def scenario(supervisor, _said):
        supervisor.start(program(tmp_path, base, "base", stop_signal=signal.SIGINT))
        supervisor.start(program(tmp_path, service, "service"))
        for name in ("base", "service"):
            await until(lambda name=name: "up" in said_by(tmp_path, name))

    run(scenario)
    service_end, base_end = (
        int(said_by(tmp_path, name).split()[1]) for name in ("service", "base")
    )
    assert service_end < base_end


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


LAUNCHER = textwrap.dedent(
    """
    import asyncio, pathlib, sys
    from ci.native.supervisor import Child, Supervisor
    async def ready(_pid): return None
    async def main():
        supervisor = Supervisor(print, lambda: None)
        here = pathlib.Path(sys.argv[1])
        code = "import signal; print('up', flush=True); signal.pause()"
        log = here / "child.log"
        supervisor.start(Child("child", (sys.executable, "-c", code), here, {}, log, ready))
        await asyncio.sleep(3600)
    asyncio.run(main())
    """
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a parent died")
def test_kill_9_of_the_launcher_leaves_nothing(tmp_path):
    """The kernel ends each child, which ends what it has started."""
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=ROOT) as launcher:
        wait_for(lambda: said_by(tmp_path, "child") or None)
        (child,) = psutil.Process(launcher.pid).children()
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not is_alive(child) or None)


def wait_for(probe, timeout_s=600):
    deadline = time.monotonic() + timeout_s
    while (found := probe()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
