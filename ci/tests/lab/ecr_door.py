"""An ECR on this machine: one address on 127.0.0.1 that speaks the AWS API and the registry's.

    boto3 ─────── POST / ──▶ ┌──────┐ ──▶ moto's server (in this process)
    docker, httpx ─ /v2/ ──▶ │ door │ ──▶ docker-registry (Debian), or the image registry:2
                             └──────┘
What it does not have: signatures of requests are not checked, nothing is scanned (`scans` says what
is answered), lifecycle rules are stored but never act, and there is no TLS: Docker and `ci` speak
plain HTTP to a loopback address and to nothing else.
"""

import contextlib
import http.client
import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

from ci import process
from ci.errors import OutsideFault
from ci.native import leash, net
from ci.tests.lab.ecr_control import REGION, TARGET, ApiError, ControlPlane, ScanStory
from ci.tests.lab.ecr_data import DRAIN_MAX, DataPlane, Refusal, Request, pieces, respond
from ci.tests.lab.ecr_faults import Fault, Faults

LOOPBACK = "127.0.0.1"
START_S = 600.0
REGISTRY_IMAGE = "registry:2"
JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class LocalEcr:
    """A door that is open. registry: its host:port, what `ECR_REGISTRY` is set to."""

    registry: str
    faults: Faults
    control: ControlPlane

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to take this for AWS; the credentials open nothing else."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.registry}",
            "AWS_ACCESS_KEY_ID": "local-door",
            "AWS_SECRET_ACCESS_KEY": "opens-nothing-but-the-local-door",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "ECR_REGISTRY": self.registry,
        }

    @property
    def scans(self) -> dict[str, ScanStory]:
        """What is answered about scans, by repository or digest; "" is for all others."""
        return self.control.scans

    def create_repository(self, name: str) -> None:
        """A repository as `push` wants it, its tags immutable, is there."""
        given = {"repositoryName": name, "imageTagMutability": "IMMUTABLE"}
        with contextlib.suppress(ApiError):
            self.control.moto("CreateRepository", **given)

    def inject(self, on: str, **what: object) -> Fault:
        """Let a later call go wrong; see `Fault`."""
        return self.faults.inject(on, **what)


@contextlib.contextmanager
def running_ecr(folder: Path) -> Iterator[LocalEcr]:
    """An ECR-shaped registry for the block, with what `folder` holds of an earlier one.

    It stands at the port it had before, where that is free: Docker then knows that its layers are
    there, and does not compress and send them again. One at a time in a process, since moto keeps
    its state in the process. `OutsideFault` when neither docker-registry nor a Docker engine with
    the image registry:2 is here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        moto = stack.enter_context(_moto())
        behind = stack.enter_context(_registry(folder))
        faults = Faults()
        server = _server(folder / "port")
        address = f"{LOOPBACK}:{server.server_address[1]}"
        server.control = ControlPlane(moto, address, folder / "api.jsonl")
        server.data = DataPlane(behind, server.control)
        server.faults = faults
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="ecr-door"
        )
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        stack.callback(faults.clear)
        yield LocalEcr(address, faults, server.control)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    control: ControlPlane
    data: DataPlane
    faults: Faults

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that goes away (a killed push) is no event here; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(Request):
    protocol_version = "HTTP/1.1"
    timeout = 300
    server: _Server

    def _serve(self) -> None:
        self.body_taken = False
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        is_data = self.path.startswith("/v2")
        call = f"{self.command} {self.path if is_data else f'ecr/{action}'}"
        fault = self.server.faults.meet(call)
        if fault and fault.delay_s:
            self.server.faults.wait(fault)
        if fault and fault.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        try:
            if is_data:
                if fault and fault.status:
                    self._refuse(Refusal(fault.status, fault.code, fault.message))
                else:
                    self.server.data.serve(self)
            elif fault and fault.status:
                self._refuse(ApiError(fault.code, fault.message, fault.status))
            else:
                self._api(action)
        except (Refusal, ApiError) as error:
            self._refuse(error)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _api(self, action: str) -> None:
        body = b"".join(pieces(self))
        if self.headers.get("X-Amz-Target", "").startswith(TARGET):
            answer = self.server.control.answer(action, json.loads(body or b"{}"))
            respond(self, 200, json.dumps(answer).encode(), {"Content-Type": JSON})
            return
        status, text, content_type = self.server.control.forward(
            self.path, _plain_headers(dict(self.headers.items())), body
        )
        respond(self, status, text, {"Content-Type": content_type})

    def _refuse(self, error: Refusal | ApiError) -> None:
        headers = {"Content-Type": JSON if isinstance(error, ApiError) else "application/json"}
        if isinstance(error, Refusal) and error.status == http.client.UNAUTHORIZED:
            realm = f"http://{self.headers.get('Host', LOOPBACK)}/"
            headers["WWW-Authenticate"] = f'Basic realm="{realm}",service="ecr.amazonaws.com"'
        try:
            for _ in () if self.body_taken else pieces(self, DRAIN_MAX):
                pass
        except (Refusal, ValueError):
            self.close_connection = True
            headers["Connection"] = "close"
        respond(self, error.status, error.body(), headers)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The door keeps no log; `Faults.calls` tells what was asked."""


def _server(remembered: Path) -> _Server:
    """The door's server, at the port that the file remembers or else at any; remembered."""
    port = int(remembered.read_text(encoding="ascii")) if remembered.exists() else 0
    try:
        server = _Server((LOOPBACK, port), _Handler)
    except OSError:  # somebody else has it now
        server = _Server((LOOPBACK, 0), _Handler)
    remembered.write_text(str(server.server_address[1]), encoding="ascii")
    return server


def _plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    unwanted = {"host", "content-length", "connection", "transfer-encoding", "expect"}
    return {name: value for name, value in headers.items() if name.lower() not in unwanted}


@contextlib.contextmanager
def _moto() -> Iterator[tuple[str, int]]:
    # of ci's development lock, and slow to import
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each call otherwise
    server = ThreadedMotoServer(LOOPBACK, 0, verbose=False)
    server.start()
    address = server.get_host_and_port()
    try:
        connection = http.client.HTTPConnection(*address, timeout=30)
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.close()
        yield address
    finally:
        server.stop()


@contextlib.contextmanager
def _registry(folder: Path) -> Iterator[tuple[str, int]]:
    if shutil.which("docker-registry"):
        with _debian_registry(folder) as address:
            yield address
    elif shutil.which("docker"):
        with _contained_registry() as address:
            yield address
    else:
        raise OutsideFault(
            "docker-registry: not found, nor docker; on Debian: apt install docker-registry"
        )


@contextlib.contextmanager
def _debian_registry(folder: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        net.bind(probe, LOOPBACK, 0)
        port = probe.getsockname()[1]
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "layers")}},
        "http": {"addr": f"{LOOPBACK}:{port}", "relativeurls": True},
    }
    file = folder / "registry.json"  # JSON is YAML
    file.write_text(json.dumps(settings), encoding="utf-8")
    program = [str(shutil.which("docker-registry")), "serve", str(file)]
    # the registry ends with this process, even when that is killed
    held = [sys.executable, "-I", leash.__file__, str(int(signal.SIGTERM)), "-1", "-1", "--"]
    with (folder / "registry.log").open("wb") as log:
        running = subprocess.Popen(
            [*held, *program], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait((LOOPBACK, port), lambda: running.poll() is None, folder / "registry.log")
        yield LOOPBACK, port
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def _contained_registry() -> Iterator[tuple[str, int]]:
    given = ("--env", "REGISTRY_HTTP_RELATIVEURLS=true", "--publish", f"{LOOPBACK}::5000")
    started = process.run(["docker", "run", "--detach", "--rm", *given, REGISTRY_IMAGE])
    if started.code != 0:
        raise OutsideFault(f"docker run {REGISTRY_IMAGE}:\n{started.last_lines()}")
    container = started.stdout.split()[-1]
    try:
        port = process.run(["docker", "port", container, "5000/tcp"]).stdout.rpartition(":")[2]
        _wait((LOOPBACK, int(port)), lambda: True, None)
        yield LOOPBACK, int(port)
    finally:
        process.run(["docker", "rm", "--force", "--volumes", container])


def _wait(address: tuple[str, int], alive: Callable[[], bool], log: Path | None) -> None:
    """The registry answers; `OutsideFault` when it ended or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and alive():
        try:
            connection = http.client.HTTPConnection(*address, timeout=60)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            connection.close()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)  # between polls, within the bound
        else:
            return
    said = log.read_text(errors="replace")[-2000:] if log else ""
    raise OutsideFault(f"the registry did not start within {START_S:g} s\n{said}")
