"""A git server for a laptop and for tests: bare repositories over smart HTTP, behind a password.

`git http-backend` does the work, as behind any web server; this is the web server, on a free port
of the loopback. Hooks of the bare repositories run. `faults` are what a bad day brings, for tests.
"""

import base64
import contextlib
import gzip
import hmac
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from ci import process
from ci.errors import OutsideFault

BACKEND_S = 120.0


@dataclass(frozen=True)
class Fault:
    """What the next matching request meets instead of, or before, its answer.

    where: a piece of the path and query, e.g. `git-receive-pack`. status: answered in place of the
    real answer; 0 lets it through. after: the request is carried out, its answer is lost.
    """

    where: str
    status: int = 0
    wait_s: float = 0
    location: str | None = None
    after: bool = False


@dataclass
class GitServer:
    """Where it listens, what it was asked, what it shall do wrong."""

    folder: Path
    port: int
    user: str
    password: str = field(repr=False)
    faults: deque[Fault] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, name: str) -> str:
        """The address of the repository `name`; no credentials in it."""
        return f"http://127.0.0.1:{self.port}/{name}.git"

    def path(self, name: str) -> Path:
        """Its folder."""
        return self.folder / f"{name}.git"

    def create(self, name: str, branch: str = "main") -> Path:
        """A bare repository that may be pushed to; its folder. One that is there stays as it is."""
        path = self.path(name)
        if path.is_dir():
            return path
        path.mkdir(parents=True)
        for argv in (
            ["init", "--quiet", "--bare", "--template=", "."],
            ["symbolic-ref", "HEAD", f"refs/heads/{branch}"],
            ["config", "http.receivepack", "true"],
            ["config", "uploadpack.allowFilter", "true"],
        ):
            done = process.run(["git", *argv], cwd=path)
            if done.code != 0:
                raise OutsideFault(f"git {argv[0]}: {done.last_lines()}")
        (path / "hooks").mkdir(exist_ok=True)
        return path

    def hook(self, name: str, hook: str, script: str) -> None:
        """`script` is the hook of that repository, e.g. `pre-receive`."""
        path = self.path(name) / "hooks" / hook
        path.write_text(script)
        path.chmod(0o755)

    def fault(self, fault: Fault) -> None:
        """The next request that matches meets it, once."""
        with self.lock:
            self.faults.append(fault)

    def next_fault(self, target: str) -> Fault | None:
        """The fault that this request meets; it is used up."""
        with self.lock:
            self.requests.append(target)
            for fault in self.faults:
                if fault.where in target:
                    self.faults.remove(fault)
                    return fault
        return None


@contextlib.contextmanager
def running_git_server(folder: Path, user: str, password: str) -> Iterator[GitServer]:
    """A server for the bare repositories in `folder`, during the block."""
    folder.mkdir(parents=True, exist_ok=True)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    listener.request_queue_size = 128
    listener.daemon_threads = True
    listener.server_bind()
    listener.server_activate()
    server = GitServer(folder.absolute(), listener.server_address[1], user, password)
    listener.git = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request: password, fault, then what `git http-backend` answers (RFC 3875)."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece: two would wait for an acknowledgement, 40 ms
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Nothing: the log of a test is its own."""

    def _serve(self) -> None:
        server: GitServer = self.server.git  # type: ignore[attr-defined]
        body = self._body()
        fault = server.next_fault(self.path)
        if fault and fault.wait_s:
            time.sleep(fault.wait_s)
        if fault and fault.status and not fault.after:
            self._answer(fault.status, {"Location": fault.location or ""}, b"as the test asked\n")
        elif not self._allowed(server):
            self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"a password, please\n")
        else:
            status, headers, answer = self._backend(server, body)
            if fault and fault.after:
                status, headers, answer = fault.status, {}, b"the answer was lost\n"
            self._answer(status, headers, answer)

    def _allowed(self, server: GitServer) -> bool:
        wanted = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
        return hmac.compare_digest(self.headers.get("Authorization", ""), f"Basic {wanted}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _backend(self, server: GitServer, body: bytes) -> tuple[int, dict[str, str], bytes]:
        target = urlsplit(self.path)
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": target.path,
            "QUERY_STRING": target.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_USER": server.user,
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(  # not `process.run`: what it writes is bytes, not text
            ["git", "http-backend"],
            input=body,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=BACKEND_S,
            check=False,
        )
        head, found, answer = done.stdout.partition(b"\r\n\r\n")
        if not found:
            return 500, {}, b"git http-backend said nothing\n"
        pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
        headers = {name.strip().title(): value.strip() for name, _, value in pairs}
        return int(headers.pop("Status", "200").split()[0]), headers, answer

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
