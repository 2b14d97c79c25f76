"""The outer pytest session: runs the suites and tells their test reports as if they were its own.

    suite's pytest ──--report-log──▶ file ──followed──▶ pytest_runtest_logreport ──▶ one summary

So progress is live, JUnit XML and counts are true, and there is one closing line. A suite that
crashes, collects nothing or ends oddly becomes a failed test with its last lines as the reason.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from ci.environments import python_of
from ci.native import leash
from ci.native.logs import Follower, tail
from ci.test.suites import Suite

TIMEOUT_S = 1200.0
POLL_S = 0.05
LAST_LINES = 40
OFTEN_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
COMPLETE = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}


@dataclass
class Running:
    """A suite whose pytest runs now."""

    suite: Suite
    server: str
    process: subprocess.Popen[bytes]
    output: Path
    reports: Follower
    began: float
    tests: int = 0
    failed: int = 0
    finished: bool = False
    held: list[Any] = field(default_factory=list)
    file: str = ""


@dataclass
class Suites:
    """The plugin: instead of collecting, the session runs `suites`.

    servers: URLs of PostgreSQL servers; as many suites run at a time, and no two share one.
    """

    suites: Sequence[Suite]
    folder: Path
    env: Mapping[str, str]
    servers: Sequence[str]
    options: Sequence[str]
    empty_is_fine: bool

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Nothing is collected here; the suites collect."""
        session.testscollected = 0
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All suites have run, stage by stage, as many at a time as there are servers."""
        waiting, running, free = deque(self.suites), list[Running](), list(self.servers)
        try:
            while waiting or running:
                stage = running[0].suite.stage if running else waiting[0].stage
                if waiting and waiting[0].stage == stage and free:
                    running.append(self._start(waiting.popleft(), free.pop()))
                    continue
                for each in list(running):
                    ended = each.process.poll() is not None
                    self._tell(session, each)
                    if len(running) == 1:
                        self._pass_on(session, each)
                    if ended:
                        running.remove(each)
                        free.append(each.server)
                        self._finish(session, each)
                    elif time.monotonic() - each.began > TIMEOUT_S:
                        os.killpg(each.process.pid, signal.SIGKILL)
                time.sleep(POLL_S)
        finally:
            for each in running:
                os.killpg(each.process.pid, signal.SIGTERM)
                each.process.wait(30)
        return True

    def _start(self, suite: Suite, server: str) -> Running:
        name = suite.name.replace(" ", "-")
        reports, output = self.folder / f"{name}.jsonl", self.folder / f"{name}.log"
        reports.unlink(missing_ok=True)
        leashed = [sys.executable, "-I", leash.__file__, str(int(signal.SIGTERM)), "-1", "-1", "--"]
        command = [str(python_of(suite.folder)), "-m", "pytest", *suite.targets]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*leashed, *command, f"--report-log={reports}", *self.options],
                cwd=suite.folder,
                env={**self.env, "TEST_POSTGRES_URL": server},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_signals,  # noqa: PLW1509 - one thread starts suites
            )
        return Running(suite, server, process, output, Follower(name, reports), time.monotonic())

    def _tell(self, session: pytest.Session, running: Running) -> None:
        """Pass on the reports that came since the last time, one test file after the other."""
        while lines := list(running.reports.new_lines()):
            for line in lines:
                data = json.loads(line)
                running.finished |= data.get("$report_type") == "SessionFinish"
                if data.get("$report_type") not in {"TestReport", "CollectReport"}:
                    continue
                report = session.config.hook.pytest_report_from_serializable(
                    config=session.config, data=data
                )
                if isinstance(report, pytest.CollectReport) and not report.failed:
                    continue
                file = report.nodeid.split("::", 1)[0]
                if file != running.file:
                    self._pass_on(session, running)
                    running.file = file
                running.held.append(report)

    def _pass_on(self, session: pytest.Session, running: Running) -> None:
        """Tell the held reports. While two suites run, whole files: they must not mix on a line."""
        for report in running.held:
            prefix = running.suite.folder.name
            report.nodeid = f"{prefix}/{report.nodeid}"
            if isinstance(report, pytest.TestReport):
                path, line, name = report.location
                report.location = (f"{prefix}/{path}", line, name)
            if report.skipped and isinstance(report.longrepr, list):
                report.longrepr = tuple(report.longrepr)
            running.failed += report.failed
            if isinstance(report, pytest.CollectReport):
                session.config.hook.pytest_collectreport(report=report)
                continue
            if report.when == "setup":
                running.tests += 1
                session.testscollected += 1
                session.config.hook.pytest_runtest_logstart(
                    nodeid=report.nodeid, location=report.location
                )
            session.config.hook.pytest_runtest_logreport(report=report)
        running.held.clear()

    def _finish(self, session: pytest.Session, running: Running) -> None:
        """Tell the rest, and what is odd about how the suite ended."""
        self._tell(session, running)
        self._pass_on(session, running)
        code = running.process.returncode
        seconds = time.monotonic() - running.began
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if isinstance(reporter, TerminalReporter):
            reporter.ensure_newline()
            word = "test" if running.tests == 1 else "tests"
            reporter.write_line(f"{running.suite.name}: {running.tests} {word} in {seconds:.1f} s")
        why = oddity(code, running.tests, running.failed, self.empty_is_fine)
        if why is None and not running.finished:
            why = f"its pytest exited with {code} before it had finished"
        if why is None:
            return
        said = "\n".join(tail(running.output, LAST_LINES))
        nodeid = f"{running.suite.folder.name}::{running.suite.name.replace(' ', '-')}"
        report = pytest.TestReport(
            nodeid=nodeid,
            location=(running.suite.folder.name, None, running.suite.name),
            keywords={},
            outcome="failed",
            longrepr=f"{running.suite.name}: {why}. Its last lines ({running.output}):\n{said}",
            when="call",
        )
        session.testscollected += 1
        session.config.hook.pytest_runtest_logreport(report=report)


def _heed_signals() -> None:
    """Signals end a process again, also below `nohup`, which Jenkins begins its steps with."""
    for number in OFTEN_IGNORED:
        signal.signal(number, signal.SIG_DFL)


def oddity(code: int, tests: int, failed: int, empty_is_fine: bool) -> str | None:
    """Why the end of a suite is a failure of its own; None when its reports tell everything."""
    if code < 0:
        return f"its pytest was killed by signal {-code}"
    if code == pytest.ExitCode.NO_TESTS_COLLECTED or (code == pytest.ExitCode.OK and tests == 0):
        return None if empty_is_fine else "it collected no tests"
    if code == pytest.ExitCode.INTERRUPTED and failed:
        return None  # errors while collecting, already told
    if code not in COMPLETE:
        return f"its pytest exited with {code}"
    if bool(failed) != (code == pytest.ExitCode.TESTS_FAILED):
        return f"its pytest exited with {code}, yet {failed} failures were reported"
    return None
