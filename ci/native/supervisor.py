"""Keeps the processes of a native run alive: starts, watches, restarts with backoff, stops.

    starting ──ready──▶ running ──ends──▶ waiting (0.5 s, doubling to 30 s) ──▶ starting
        │ ends three times before it was ever ready
        ▼
      failed: the run is over, and the last lines of its log are the reason

Why not honcho, circus or supervisor: docs/adr/0003-native-run.md.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci.errors import Defect
from ci.native import guard, leash
from ci.native.logs import reason_line, tail

TRIES = 3
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_S = 30.0  # who lived this long starts its backoff afresh
STOP_TIMEOUT_S = 12.0
REASON_LINES = 20

NotReady = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True)
class Program:
    """One process to keep running. `not_ready` answers None once it does its work."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    log: Path
    not_ready: NotReady
    stop_signal: int = signal.SIGTERM
    ids: tuple[int, int] = leash.STAY  # UID and GID
    tries: int = TRIES


@dataclass
class Child:
    """A program's process of this moment, and what became of it so far."""

    program: Program
    pid: int | None = None
    started_at: float = 0.0
    log_start: int = 0
    was_ready: bool = False
    restarts: int = 0
    failure: str | None = None
    task: asyncio.Task[None] | None = None


def backoff_s(failures: int) -> float:
    """How long to wait before the start that follows `failures` ends in a row."""
    return float(min(BACKOFF_FIRST_S * 2 ** (failures - 1), BACKOFF_MAX_S))


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


@dataclass
class Supervisor:
    """All children of one run. `say` tells a person; `changed` is called when a pid changes."""

    say: Callable[[str], None]
    changed: Callable[[], None]
    children: dict[str, Child] = field(default_factory=dict)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    _guard: asyncio.subprocess.Process | None = None
    _guard_task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """The guard runs; from here on no child outlives us."""
        await self._start_guard()
        self._guard_task = asyncio.create_task(self._keep_guard())

    def start(self, program: Program) -> Child:
        """`program` is kept running from now on."""
        child = self.children[program.name] = Child(program)
        child.task = asyncio.create_task(self._keep(child))
        return child

    async def wait_ready(
        self,
        names: list[str],
        timeout_s: float,
        show: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """All of `names` have been ready; `Defect` with the reason when one is not in time.

        show: called with what is not ready yet, and why, each time that was looked at.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            reasons = await asyncio.gather(
                *(self.children[name].program.not_ready() for name in names)
            )
            pending = {
                name: reason
                for name, reason in zip(names, reasons, strict=True)
                if reason is not None or self.children[name].pid is None
            }
            for name in set(names) - set(pending):
                self.children[name].was_ready = True
            for child in self.children.values():
                if child.failure:
                    raise Defect(child.failure)
            if not pending:
                return
            show({name: reason or "starting" for name, reason in pending.items()})
            if time.monotonic() > deadline:
                name, reason = next(iter(pending.items()))
                raise Defect(self._explain(self.children[name], f"not ready in time ({reason})"))
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Every child has ended, databases last: by its stop signal, else killed."""
        self.stopping = True
        databases = [c for c in self.children.values() if c.program.stop_signal == signal.SIGINT]
        others = [child for child in self.children.values() if child not in databases]
        for wave in (others, databases):
            await asyncio.gather(*(self._stop(child) for child in wave))
        if self._guard_task:
            self._guard_task.cancel()
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._guard.wait(), 5)

    async def _keep(self, child: Child) -> None:
        """Start the child again and again until we stop or it proves unable to start."""
        failures = 0
        while not self.stopping:
            process = await self._spawn(child)
            code = await process.wait()
            self._forget(child)
            if self.stopping:
                return
            failures = 1 if time.time() - child.started_at > STEADY_S else failures + 1
            name, how = child.program.name, ending(code)
            if not child.was_ready and failures >= child.program.tries:
                child.failure = self._explain(child, how)
                self.failed.set()
                return
            delay_s = backoff_s(failures)
            child.restarts += 1
            self.say(f"{name} {how}; starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        program = child.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child.log_start = os.fstat(log).st_size
            process = await asyncio.create_subprocess_exec(
                *leash.command(program.argv, program.stop_signal, program.ids),
                cwd=program.cwd,
                env=program.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        child.pid, child.started_at = process.pid, time.time()
        self._write_guard(f"+ {process.pid} {int(program.stop_signal)}")
        self.changed()
        return process

    def _forget(self, child: Child) -> None:
        """The leader has ended; what it left in its group ends too."""
        if child.pid is not None:
            guard.signal_group(child.pid, signal.SIGKILL)
            self._write_guard(f"- {child.pid}")
        child.pid = None
        self.changed()

    async def _stop(self, child: Child) -> None:
        if child.task is None:
            return
        if child.pid is None:  # between two starts
            child.task.cancel()
        else:
            guard.signal_group(child.pid, child.program.stop_signal)
        done, _ = await asyncio.wait({child.task}, timeout=STOP_TIMEOUT_S)
        if not done and child.pid is not None:
            self.say(f"{child.program.name} does not stop; killing it")
            guard.signal_group(child.pid, signal.SIGKILL)
            await asyncio.wait({child.task}, timeout=STOP_TIMEOUT_S)

    def _explain(self, child: Child, how: str) -> str:
        rows = tail(child.program.log, 10 * REASON_LINES, child.log_start)
        texts = list(filter(None, map(reason_line, rows)))[-REASON_LINES:]
        lines = "\n".join(texts) or "    (nothing)"
        return f"{child.program.name} {how}. Its last lines ({child.program.log}):\n{lines}"

    async def _keep_guard(self) -> None:
        """A guard that dies is replaced."""
        while self._guard and not self.stopping:
            await self._guard.wait()
            await asyncio.sleep(BACKOFF_FIRST_S)
            await self._start_guard()

    async def _start_guard(self) -> None:
        """A guard runs and knows all children."""
        self._guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            guard.__file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        for child in self.children.values():
            if child.pid is not None:
                self._write_guard(f"+ {child.pid} {int(child.program.stop_signal)}")

    def _write_guard(self, line: str) -> None:
        if self._guard and self._guard.stdin and not self._guard.stdin.is_closing():
            with contextlib.suppress(OSError):
                self._guard.stdin.write(f"{line}\n".encode())
