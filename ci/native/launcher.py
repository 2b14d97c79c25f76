"""`make run`: start everything, follow the logs, and leave nothing running, however it ends."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time

from ci.errors import CiError
from ci.model import Catalogue
from ci.native import plan, postgres, probe, start, state
from ci.native.guard import signal_group
from ci.native.leash import die_with_parent
from ci.native.logs import Follower, is_routine, render
from ci.native.run import Run
from ci.screen import Screen
from ci.settings import Settings

FOLLOW_EVERY_S = 0.15
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(catalogue: Catalogue, settings: Settings) -> None:
    """The platform has run until it was stopped; `CiError` when it could not."""
    screen = Screen(colour=settings.colour)
    if "MAKELEVEL" in settings.passed_on:  # `make` died: nobody could stop us any more
        die_with_parent(signal.SIGTERM)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    settings.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    (settings.data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    lock = state.take(settings.data_dir)
    settings.state_file.unlink(missing_ok=True)  # of a run that was killed
    try:
        asyncio.run(_run(Run(catalogue, settings, screen)))
        screen.line("  stopped; nothing is left running")
    finally:
        os.close(lock)


async def _run(run: Run) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        # `nohup` means it: a signal that was ignored stays ignored
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    began = time.monotonic()
    starting = asyncio.create_task(start.everything(run))
    over = [asyncio.create_task(event.wait()) for event in (stop, run.supervisor.failed)]
    try:
        await asyncio.wait({starting, *over}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            run.screen.line(f"  ready after {time.monotonic() - began:.1f} s")
            await _greet(run)
            await _follow(run, stop)
        else:
            starting.cancel()
            await asyncio.wait({starting})
        run.check()
    except* CiError as errors:
        raise _first(errors) from None
    finally:
        for task in over:
            task.cancel()
        await _end(run)


async def _end(run: Run) -> None:
    """No process is left, nor a file that says there is one."""
    if run.supervisor.children:
        run.screen.line("  stopping …")
    for number in STOP_SIGNALS[:2]:  # the second Ctrl-C does not wait
        asyncio.get_running_loop().add_signal_handler(number, _kill_all, run)
    await run.supervisor.close()
    if run.place:
        with contextlib.suppress(OSError):
            run.place.socket_dir.rmdir()
    run.settings.state_file.unlink(missing_ok=True)
    shutil.rmtree(run.pids, ignore_errors=True)


def _kill_all(run: Run) -> None:
    for child in run.supervisor.children.values():
        if child.pid is not None and child.program.name != postgres.NAME:
            signal_group(child.pid, signal.SIGKILL)


def _first(errors: BaseExceptionGroup[CiError]) -> CiError:
    """The first error of a group, however deep."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _greet(run: Run) -> None:
    """Say where everything is; the set-up link only while there is no owner yet."""
    try:
        status, body = await probe.get(f"{run.urls['ubs']}/api/v1/setup")
        is_needed = status == 200 and b"true" in body
    except OSError:
        is_needed = False
    link = run.setup_link if is_needed else None
    run.screen.line(plan.closing_words(run.public_url, run.key, link))


async def _follow(run: Run, stop: asyncio.Event) -> None:
    """Show what the processes log, until `stop` or until one fails for good."""
    screen = run.screen
    colour = screen.colour and screen.is_terminal
    followers = [
        Follower(name, child.program.log, child.program.log.stat().st_size)
        for name, child in run.supervisor.children.items()
    ]
    while not stop.is_set() and not run.supervisor.failed.is_set():
        for follower in followers:
            for line in follower.new_lines():
                if not is_routine(line):
                    screen.line(render(line, follower.name, colour=colour))
            follower.bound()
        await asyncio.sleep(FOLLOW_EVERY_S)
