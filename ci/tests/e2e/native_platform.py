"""A native run as a test sees it: started, watched and ended from outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import remote_write

from ci.native import leash

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 600.0  # machines that build are busy
CODES = ("das", "dis", "aps", "ubs", "ui")
READY = {"das": "/ready", "dis": "/ready", "aps": "/ready", "ubs": "/ready", "ui": "/ready"}
NOT_PASSED = ("DATABASE_URL", "TEST_POSTGRES_URL", "MAKELEVEL", "SERVICE_TOKEN", "UI_PUBLIC_URL")

T = TypeVar("T")


def eventually(what: str, probe: Callable[[], T | None]) -> T:
    """The first answer of `probe` that is not None or False; a failure that names `what` else."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)


@dataclass
class NativePlatform:
    """One run. `data_dir` outlives it; `launcher` is its process."""

    data_dir: Path
    launcher: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(cls, data_dir: Path, **variables: str) -> "NativePlatform":
        """A run on free ports, not yet ready."""
        env = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
        env |= {f"CLOUDOPSHUB_{code.upper()}_PORT": "0" for code in CODES}
        env |= {"CLOUDOPSHUB_DATA_DIR": str(data_dir), "CLOUDOPSHUB_START_TIMEOUT_S": f"{WAIT_S:g}"}
        env |= variables
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        output = data_dir.parent / f"{data_dir.name}.screen"
        # a test run that is killed takes its platform along
        command = leash.command([sys.executable, "-m", "ci", "run"], signal.SIGTERM)
        with output.open("ab") as screen:
            launcher = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )
        return cls(data_dir, launcher, output)

    def screen(self) -> str:
        """What a person would have seen so far."""
        return self.output.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Everything is ready, as the run itself says."""

        def ready() -> bool | None:
            assert self.launcher.poll() is None, f"the run ended:\n{self.screen()[-6000:]}"
            return self.state.get("phase") == "ready" or None

        try:
            eventually("the platform is ready", ready)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()[-6000:]}") from None

    @property
    def state(self) -> dict[str, Any]:
        """The run's state file; empty when there is none."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.data_dir / "state.json").read_text())
            return found if found["launcher"] == self.launcher.pid else {}
        return {}

    @property
    def pids(self) -> dict[str, int | None]:
        """The processes of this moment by name."""
        return {name: process["pid"] for name, process in self.state["processes"].items()}

    @property
    def url(self) -> str:
        """The public door."""
        return self.state["urls"]["ui"]

    @property
    def key(self) -> str:
        """The ready API key."""
        return self.state["key"]

    def all_ready(self) -> bool:
        """Whether every process runs and every service answers that it is ready."""
        state = self.state
        if not all(process["pid"] for process in state["processes"].values()):
            return False
        try:
            return all(
                httpx.get(f"{state['urls'][code]}{READY[code]}", timeout=WAIT_S).status_code == 200
                for code in CODES
            )
        except httpx.HTTPError:
            return False

    def write(self, labels: dict[str, str], samples: list[tuple[int, float]]) -> int:
        """The status of a remote_write through the public door; 0 when there was no answer."""
        try:
            return httpx.post(
                f"{self.url}/api/data-ingest-service/api/v1/write",
                content=remote_write.encode(labels, samples),
                headers=remote_write.HEADERS | {"Authorization": f"Bearer {self.key}"},
                timeout=WAIT_S,
            ).status_code
        except httpx.HTTPError:
            return 0

    def query(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """The result of an instant query through the public door."""
        answer = httpx.get(
            f"{self.url}/api/data-api-service/api/v1/query",
            params={"query": expression, "time": at_s or time.time()},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=WAIT_S,
        )
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:500]}"
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    def family(self) -> list[psutil.Process]:
        """All processes of the run: the launcher and everything below."""
        try:
            launcher = psutil.Process(self.launcher.pid)
            return [launcher, *launcher.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the run to end, with that signal; its exit code."""
        if self.launcher.poll() is None:
            self.launcher.send_signal(number)
        return self.launcher.wait(WAIT_S)


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more (a zombie that nobody reaped does not run)."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True
