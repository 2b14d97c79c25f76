"""Runs each suite's own pytest and passes its lines on under the suite's name.

    pytest ──stdout──▶ .cache/tests/SUITE.log ──followed──▶ `das unit │ ......  [ 40%]`
           ──junit───▶ .cache/tests/SUITE.xml ──merged────▶ one file, one closing line (junit.py)

A suite that crashes, collects nothing or ends oddly is a failed test, its last lines the reason.
"""

import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from ci.environments import python_of
from ci.native import leash
from ci.native.guard import signal_group
from ci.native.logs import Follower, printable, tail
from ci.test.junit import Ended
from ci.test.suites import Suite

TIMEOUT_S = 1200.0
POLL_S = 0.05
QUIET_S_MAX = 10.0
LAST_LINES = 40
OFTEN_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


@dataclass
class Running:
    """A suite whose pytest runs now. began, said_at: seconds of the monotonic clock."""

    suite: Suite
    server: str
    process: subprocess.Popen[bytes]
    log: Follower
    report: Path
    began: float
    said_at: float

    def new_lines(self) -> Iterator[str]:
        """The lines that came since the last call; of a long one, every 10 s, what there is."""
        while lines := list(self.log.new_lines()):
            yield from map(printable, lines)
            self.said_at = time.monotonic()
        if time.monotonic() - self.said_at > QUIET_S_MAX:
            self.said_at = time.monotonic()
            yield f"{self.log.unfinished}… {self.said_at - self.began:.0f} s"


def start(
    suite: Suite, server: str, folder: Path, env: Mapping[str, str], options: Sequence[str]
) -> Running:
    """The suite's pytest runs; its log and its report are files in `folder`."""
    name = suite.name.replace(" ", "-")
    report, log = folder / f"{name}.xml", folder / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [str(python_of(suite.folder)), "-m", "pytest", "-q", "-ra", *suite.targets, *options]
    command += [f"--junitxml={report}", "-ojunit_family=xunit1", f"-ojunit_suite_name={suite.name}"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            leash.command(command, signal.SIGTERM),
            cwd=suite.folder,
            env={**env, "TEST_POSTGRES_URL": server},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_heed_signals,  # noqa: PLW1509 - one thread starts suites
        )
    now = time.monotonic()
    return Running(suite, server, process, Follower(suite.name, log), report, now, now)


def run_all(
    suites: Sequence[Suite],
    servers: Sequence[str],
    start_one: Callable[[Suite, str], Running],
    line: Callable[[str], None],
) -> list[Ended]:
    """How all of `suites` ended, run stage by stage; as many at a time as there are `servers`.

    servers: URLs of PostgreSQL servers; no two suites of the same time share one.
    """
    waiting, running, free = deque(suites), list[Running](), list(servers)
    width = max((len(suite.name) for suite in suites), default=0)
    all_ended = []
    try:
        while waiting or running:
            stage = running[0].suite.stage if running else waiting[0].stage
            while waiting and waiting[0].stage == stage and free:
                running.append(start_one(waiting.popleft(), free.pop()))
            for one in list(running):
                code = one.process.poll()
                for text in one.new_lines():
                    line(f"{one.suite.name:>{width}} │ {text}")
                if code is not None:
                    running.remove(one)
                    free.append(one.server)
                    all_ended.append(_ended(one, code))
                elif time.monotonic() - one.began > TIMEOUT_S:
                    signal_group(one.process.pid, signal.SIGKILL)
            time.sleep(POLL_S)
    finally:
        for one in running:
            signal_group(one.process.pid, signal.SIGTERM)
            one.process.wait(30)
    return all_ended


def _ended(running: Running, code: int) -> Ended:
    try:
        report = ET.parse(running.report).getroot()  # noqa: S314 (our own pytest wrote it)
    except (OSError, ET.ParseError):
        report = None
    last_lines = "\n".join(printable(row) for row in tail(running.log.path, LAST_LINES))
    return Ended(running.suite, code, report, last_lines)


def _heed_signals() -> None:
    """Signals end a process again, also below `nohup`, which Jenkins begins its steps with."""
    for number in OFTEN_IGNORED:
        signal.signal(number, signal.SIG_DFL)
