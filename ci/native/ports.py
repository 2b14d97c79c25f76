"""Ports: free ones where no number is given, and which process has one that is wanted."""

import contextlib
import socket
from collections.abc import Mapping

import psutil

from ci.errors import OutsideFault
from ci.model import Catalogue

UNKNOWN = "a process of another user"


def choose(wanted: Mapping[str, int], host: str) -> dict[str, int]:
    """`wanted` with each 0 replaced by a free port; all are bound at once, so they differ."""
    with contextlib.ExitStack() as stack:
        chosen = {}
        for code, port in wanted.items():
            if port == 0:
                listener = stack.enter_context(socket.socket())
                listener.bind((host, 0))
                port = listener.getsockname()[1]  # noqa: PLW2901 (the free one stands in)
            chosen[code] = port
    return chosen


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; connections that are closing do not hinder it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on `port`: pid and command, as far as we are allowed to see."""
    try:
        pids = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
            and tuple(connection.laddr)[1:2] == (port,)
            and connection.pid is not None
        ]
        if pids:
            first = psutil.Process(min(pids))  # of a server and its workers, the server
            return f"pid {first.pid} ({' '.join(' '.join(first.cmdline()).split())[:100]})"
    except psutil.Error:
        pass
    return UNKNOWN


def check(catalogue: Catalogue, ports: Mapping[str, int], host_of: Mapping[str, str]) -> None:
    """All ports can be had, else `OutsideFault` tells for each who holds it and what to change."""
    taken = []
    for service in catalogue.services:
        port = ports[service.code]
        if is_free(host_of[service.code], port):
            continue
        owner = holder(port)
        is_roots = port < 1024 and owner == UNKNOWN
        why = "taken, or kept for root" if is_roots else f"taken by {owner}"
        taken.append(
            f"port {port} for {service.folder} is {why};\n"
            f"    stop that, or choose another: {service.port_variable}={port + 100} make run"
        )
    if taken:
        raise OutsideFault("\n".join(taken))
