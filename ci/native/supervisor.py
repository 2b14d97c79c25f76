"""Keeps the processes of a native run alive: starts, watches, restarts with backoff, stops.

    starting ──ready──▶ running ──ends──▶ waiting (0.5 s; doubling to 8 s ──▶ starting
        │                                          while it ends before it is ready)
        │ ends three times before it was ever ready
        ▼
      failed: the run is over, and the last lines of its log are the reason

Why not honcho, circus or supervisor: docs/adr/0003-native-run.md.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.errors import Defect
from ci.native import leash
from ci.native.logs import reason_line, tail

TRIES = 3
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 8.0
STEADY_S = 5.0
REASON_LINES = 20


@dataclass
class Child:
    """One process to keep running, and what became of it so far.

    not_ready: given its pid, why it does not do its work yet; None once it does. What cannot be
    asked is ready after STEADY_S. waits_for: the last answer. ids: UID and GID.
    """

    name: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    log: Path
    not_ready: Callable[[int], Awaitable[str | None]] | None = None
    stop_signal: int = signal.SIGTERM
    ids: tuple[int, int] = leash.STAY
    pid: int | None = None
    started_at: float = 0.0
    log_start: int = 0
    waits_for: str | None = "starting"
    was_ready: bool = False
    restarts: int = 0
    task: asyncio.Task[None] | None = None

    def explained(self, how: str) -> str:
        """What happened to it, and its last lines of this start."""
        rows = map(reason_line, tail(self.log, 10 * REASON_LINES, self.log_start))
        lines = "\n".join([row for row in rows if row][-REASON_LINES:]) or "    (nothing)"
        return f"{self.name} {how}. Its last lines ({self.log}):\n{lines}"


def backoff_s(failures: int) -> float:
    """How long to wait before the start that follows `failures` ends without being ready."""
    return float(min(BACKOFF_FIRST_S * 2 ** (failures - 1), BACKOFF_MAX_S))


def ending(code: int) -> str:
    """An exit code in words."""
    names = {-number.value: number.name for number in signal.Signals}
    killed = f"was killed by {names.get(code, f'signal {-code}')}"
    return f"exited with {code}" if code >= 0 else killed


@dataclass
class Supervisor:
    """All children of one run. failure: why it is over, once `failed` is set.

    say: told what a person should know; write_state: called when a pid changes.
    """

    say: Callable[[str], None]
    write_state: Callable[[], None]
    children: dict[str, Child] = field(default_factory=dict)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = ""
    stopping: bool = False
    is_published: bool = True

    def start(self, child: Child) -> Child:
        """`child` is kept running from now on."""
        self.children[child.name] = child
        child.task = asyncio.create_task(self._keep(child))
        return child

    async def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """All of `names` are ready; `Defect` with the reason when one is not in time."""
        deadline = time.monotonic() + timeout_s
        children = [self.children[name] for name in names]
        while pending := [child for child in children if child.waits_for is not None]:
            self.check()
            if time.monotonic() > deadline:
                raise Defect(pending[0].explained(f"not ready in time ({pending[0].waits_for})"))
            await asyncio.sleep(0.05)

    def check(self) -> None:
        """`Defect` when a child has proved unable to start."""
        if self.failure:
            raise Defect(self.failure)

    def publish(self) -> None:
        """Others are told what runs; a full disk stops nothing, is said, and is tried again."""
        try:
            self.write_state()
            self.is_published = True
        except OSError as error:
            if self.is_published:
                self.say(f"`make status` will not know the pids of this moment: {error}")
            self.is_published = False

    async def close(self) -> None:
        """Every child has ended, databases last: by its stop signal, else killed."""
        self.stopping = True
        running = {child.pid: child for child in self.children.values() if child.pid is not None}
        tasks = [child.task for child in self.children.values() if child.task is not None]
        for child in self.children.values():
            if child.pid is None and child.task is not None:  # between two starts
                child.task.cancel()
        signals = {pid: child.stop_signal for pid, child in running.items()}
        for pid in await asyncio.to_thread(leash.stop, signals):
            self.say(f"{running[pid].name} did not stop and was killed")
        if tasks:
            await asyncio.wait(tasks, timeout=leash.STOP_TIMEOUT_S)

    async def _keep(self, child: Child) -> None:
        """Start the child again and again until we stop or it proves unable to start."""
        failures = 0
        while not self.stopping:
            try:
                how = await self._run(child)
            except OSError as error:  # no memory, no room for its log: perhaps later
                how = f"cannot be started ({error})"
            if self.stopping:
                return
            failures = 1 if child.waits_for is None else failures + 1
            child.waits_for = "starting again"
            if not child.was_ready and failures >= TRIES:
                self.failure = child.explained(how)
                self.failed.set()
                return
            child.restarts += 1
            self.say(f"{child.name} {how}; starting it again in {backoff_s(failures):g} s")
            await asyncio.sleep(backoff_s(failures))

    async def _run(self, child: Child) -> str:
        """How one start of the child ended; what it left in its group has ended too."""
        child.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(child.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child.log_start = os.fstat(log).st_size
            process = await asyncio.create_subprocess_exec(
                *leash.command(child.argv, child.stop_signal, child.ids),
                cwd=child.cwd,
                env=child.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(log)
        child.pid, child.started_at = process.pid, time.time()
        self.publish()
        watch = asyncio.create_task(_watch(child, process.pid))
        code = await process.wait()
        watch.cancel()
        leash.signal_group(process.pid, signal.SIGKILL)
        child.pid = None
        self.publish()
        return ending(code)


async def _watch(child: Child, pid: int) -> None:
    """Keep `waits_for` true until the child is ready."""
    if child.not_ready is None:
        await asyncio.sleep(STEADY_S)
    else:
        while (waits_for := await child.not_ready(pid)) is not None:
            child.waits_for = waits_for
            await asyncio.sleep(0.1)
    child.waits_for, child.was_ready = None, True
