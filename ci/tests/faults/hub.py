"""A native run as the fault run sees it: its state file, its public door, its processes."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from ci.errors import OutsideFault
from ci.native import state
from ci.tests import remote_write

ANSWER_TIMEOUT_S = 20.0
BACK_TIMEOUT_S = 600.0
LOOK_EVERY_S = 0.05


def wait_until(what: str, probe: Callable[[], bool]) -> None:
    """`probe` has said yes; `OutsideFault` names `what` when it did not within BACK_TIMEOUT_S."""
    deadline = time.monotonic() + BACK_TIMEOUT_S
    while not probe():
        if time.monotonic() > deadline:
            raise OutsideFault(f"not within {BACK_TIMEOUT_S:g} s: {what}")
        time.sleep(LOOK_EVERY_S)


@dataclass(frozen=True)
class Hub:
    """The run that uses `data_dir`; it stays the same while its processes come and go."""

    data_dir: Path

    @property
    def state(self) -> dict[str, Any]:
        """What the run tells of itself now; `OutsideFault` when nothing runs there."""
        content = state.read(self.data_dir / "state.json")
        if not content or state.launcher(self.data_dir) is None:
            raise OutsideFault(f"nothing runs in {self.data_dir}; `make run` starts it")
        return content

    def address(self, service: str, path: str) -> str:
        """The public address of `path` of a service."""
        return f"{self.state['urls']['ui']}/api/{service}{path}"

    @property
    def headers(self) -> dict[str, str]:
        """What a remote_write request of the run's own key carries."""
        return remote_write.HEADERS | {"Authorization": f"Bearer {self.state['key']}"}

    def pid(self, process: str) -> int | None:
        """Its process of this moment; None while it is down."""
        pid: int | None = self.state["processes"][process]["pid"]
        return pid

    def family(self, process: str) -> list[psutil.Process]:
        """The process and all below it; empty while it is down."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if pid := self.pid(process):
                first = psutil.Process(pid)
                return [first, *first.children(recursive=True)]
        return []

    def is_ready(self) -> bool:
        """Every process runs and every service answers that it is ready."""
        content = self.state
        if not all(process["pid"] for process in content["processes"].values()):
            return False
        with contextlib.suppress(httpx.HTTPError):
            return all(
                httpx.get(f"{url}/ready", timeout=ANSWER_TIMEOUT_S).status_code == httpx.codes.OK
                for code, url in content["urls"].items()
                if code in {"das", "dis", "aps", "ubs", "ui"}
            )
        return False

    def samples(self, selector: str, at_s: float, window: str) -> list[dict[str, Any]]:
        """The series of `selector` with their samples in the `window` that ends at `at_s`."""
        answer = httpx.get(
            self.address("data-api-service", "/api/v1/query"),
            params={"query": f"{selector}[{window}]", "time": at_s},
            headers=self.headers,
            timeout=ANSWER_TIMEOUT_S,
        )
        if answer.status_code != httpx.codes.OK:
            raise OutsideFault(f"the query answers {answer.status_code}: {answer.text[:300]}")
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result
