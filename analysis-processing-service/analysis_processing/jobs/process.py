"""Child processes of the worker, each at the other end of a socket."""

import contextlib
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

from sqlalchemy import Engine

from analysis_processing.chassis import telemetry
from analysis_processing.chassis.settings import load
from analysis_processing.jobs.database import engine_for
from analysis_processing.model import Claim
from analysis_processing.settings import Settings


@dataclass(slots=True)
class Child:
    """A job process and what it is doing; times are monotonic seconds."""

    process: subprocess.Popen[bytes]
    link: Connection
    idle_since_s: float
    claim: Claim | None = None
    began_s: float = 0.0
    cancelled_s: float | None = None

    def end(self) -> None:
        """The process is gone. It keeps nothing, so there is nothing to wait for."""
        with contextlib.suppress(OSError):
            self.link.close()
        self.process.kill()
        self.process.wait()


def start_child(now_s: float, module: str = "analysis_processing.jobs.child") -> Child:
    """A fresh process, idle."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603  our own module, no input from outside
            [sys.executable, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return Child(process, Connection(ours.detach()), now_s)


def begin(name: str) -> tuple[Settings, Engine]:
    """What a child needs; signals are the worker's to answer."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    settings = load(Settings)
    telemetry.configure(name, settings.log_level)
    return settings, engine_for(settings.database_url.get_secret_value(), pool_size=1)
