"""The ports of a run, and what a service answers when it is asked whether it is ready."""

import asyncio
import contextlib
import errno
import json
import random
import socket
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import psutil

from ci.errors import OutsideFault
from ci.model import Service

FREE_PORTS = range(20_000, 32_000)


def choose_ports(
    services: Sequence[Service], wanted: Mapping[str, int], hosts: Mapping[str, str]
) -> dict[str, int]:
    """A port for each service, by code: the wanted one, or a free one for 0."""
    ports, taken = {}, []
    with contextlib.ExitStack() as stack:  # all are bound at once, so free ones differ
        for service in services:
            port = wanted[service.code]
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closing ones are fine
            try:
                bind(listener, hosts[service.code], port)
            except OSError:
                taken.append(
                    f"port {port} for {service.folder} is taken by {_holder(port)};\n    stop that,"
                    f" or choose another: {service.port_variable}={port + 100} make run"
                )
            else:
                ports[service.code] = listener.getsockname()[1]
    if taken:
        raise OutsideFault("\n".join(taken))
    return ports


def bind(listener: socket.socket, host: str, port: int) -> None:
    """`listener` has that port; for 0 a free one below those that the system gives to clients, so
    that no connection takes it before the service is up. Raises OSError.
    """
    ports = [port] if port else random.sample(FREE_PORTS, 100)
    while ports:
        with contextlib.suppress(OSError):
            listener.bind((host, ports.pop()))
            return
    raise OSError(errno.EADDRINUSE, "taken")


def _holder(port: int) -> str:
    """Who listens on `port`, as far as we are allowed to see."""
    with contextlib.suppress(psutil.Error):
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        pids = [c.pid for c in listening if tuple(c.laddr)[1:2] == (port,) and c.pid]
        if pids:
            first = psutil.Process(min(pids))  # of a server and its workers, the server
            return f"pid {first.pid} ({' '.join(' '.join(first.cmdline()).split())[:100]})"
    return "a process of another user" + (", or kept for root" if port < 1024 else "")


async def get(url: str, timeout_s: float = 3.0) -> tuple[int, bytes]:
    """Status and body of GET `url` (plain http); `OSError`, `TimeoutError` without an answer."""

    def ask() -> tuple[int, bytes]:
        parts = urlsplit(url)
        with contextlib.closing(HTTPConnection(parts.netloc, timeout=timeout_s)) as connection:
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return answer.status, answer.read()

    try:
        return await asyncio.to_thread(ask)
    except HTTPException as exc:
        raise ConnectionError("not an HTTP answer") from exc


async def not_ready(url: str) -> str | None:
    """Why `url` is not ready, as it says itself where it does; None when it answers 200."""
    try:
        status, body = await get(url)
    except TimeoutError:
        return "no answer in time"
    except OSError:
        return "not listening yet"
    if status == 200:
        return None
    with contextlib.suppress(ValueError, AttributeError, TypeError, KeyError):
        checks = json.loads(body)["checks"].items()
        if failed := [f"{name}: {c.get('detail')}" for name, c in checks if not c.get("ok")]:
            return "; ".join(failed)
    return f"answers {status}"
