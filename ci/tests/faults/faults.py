"""The faults: each is done to a running hub while the ledger writes."""

import contextlib
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import psutil

from ci.errors import OutsideFault
from ci.tests import remote_write
from ci.tests.faults.hub import Hub

FROZEN_S = 5.0
STALLED_UPLOADS = 8
CUT_UPLOADS = 20
NONSENSE = 20
DISK_BYTES_MAX = 8 * 2**30
PIECE = bytes(2**20)

Fault = Callable[[Hub], None]


def kill(process: str) -> Fault:
    """`process` is killed with signal 9."""

    def fault(hub: Hub) -> None:
        pid = hub.pid(process)
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)

    return fault


def freeze(process: str) -> Fault:
    """`process` and all below it stand still for FROZEN_S."""

    def fault(hub: Hub) -> None:
        family = hub.family(process)
        try:
            _signal(family, signal.SIGSTOP)
            time.sleep(FROZEN_S)
        finally:
            _signal(family, signal.SIGCONT)

    return fault


def end_sessions(hub: Hub) -> None:
    """Every session of the database is ended, as a failover or an administrator does."""
    _signal(_sessions(hub), signal.SIGTERM)


def crash_session(hub: Hub) -> None:
    """One session of the database is killed, so PostgreSQL restarts all and recovers."""
    if sessions := _sessions(hub):
        _signal([random.choice(sessions)], signal.SIGKILL)


def cut_uploads(hub: Hub) -> None:
    """Requests whose connection ends in the middle of the body."""
    for _ in range(CUT_UPLOADS):
        with _half_sent(hub):
            pass


def stall_uploads(hub: Hub) -> None:
    """Requests that announce a body and send it a byte a second."""
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(_half_sent(hub)) for _ in range(STALLED_UPLOADS)]
        for _ in range(int(FROZEN_S)):
            for upload in uploads:
                with contextlib.suppress(OSError):
                    upload.send(b"\0")
            time.sleep(1)


def send_nonsense(hub: Hub) -> None:
    """Bodies that are no snappy, and snappy that is no protobuf."""
    address = hub.address("data-ingest-service", "/api/v1/write")
    whole = remote_write.encode({"__name__": "nonsense"}, [(0, 0.0)])
    for number in range(NONSENSE):
        body = os.urandom(200) if number % 2 else whole[: number + 1]
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(address, content=body, headers=hub.headers)


def fill_disk(hub: Hub) -> None:
    """The file system of the data folder, one of its own, has no byte left for FROZEN_S."""
    if (size := shutil.disk_usage(hub.data_dir).total) > DISK_BYTES_MAX:
        limit = f"at most {DISK_BYTES_MAX:,}"
        raise OutsideFault(f"{hub.data_dir} lies on {size:,} bytes, {limit} would be filled")
    ballast, end_s = hub.data_dir / "ballast", time.monotonic() + FROZEN_S
    try:
        with ballast.open("wb", buffering=0) as file:
            while time.monotonic() < end_s:  # what is deleted meanwhile is filled, too
                try:
                    file.write(PIECE)
                except OSError:
                    time.sleep(0.05)
    finally:
        ballast.unlink()


FAULTS: dict[str, Fault] = {
    **{f"kill {name}": kill(name) for name in ("dis", "das", "postgres", "ubs", "ui", "aps")},
    "freeze postgres": freeze("postgres"),
    "freeze dis": freeze("dis"),
    "freeze das": freeze("das"),
    "end database sessions": end_sessions,
    "crash a database session": crash_session,
    "cut uploads": cut_uploads,
    "stall uploads": stall_uploads,
    "send nonsense": send_nonsense,
}
ON_A_SMALL_DISK: dict[str, Fault] = {"fill the disk": fill_disk}


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _sessions(hub: Hub) -> list[psutil.Process]:
    """The database's processes that serve a client."""
    return [
        process
        for process in hub.family("postgres")
        if " [local] " in (title := " ".join(process.cmdline())) or "127.0.0.1(" in title
    ]


def _half_sent(hub: Hub) -> socket.socket:
    """A connection that announced 100,000 bytes and sent ten."""
    parts = urlsplit(hub.address("data-ingest-service", "/api/v1/write"))
    fields = hub.headers | {"Host": parts.netloc, "Content-Length": "100000"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    upload = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5)
    upload.sendall(f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + b"\0" * 10)
    return upload
