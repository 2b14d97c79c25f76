"""A small honest stand-in for the four services: contract-shaped answers over real HTTP, and a
record of the requests.

It is here for what real services do not do at a test's wish: be slow, be down, have 431 series.
The real services meet the page in the end-to-end tests of `ci`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from accounts import ubs
from analyses import aps
from contract import Answer, Refused, Request, State
from metrics import das, dis

SERVICES = {"das": das, "dis": dis, "aps": aps, "ubs": ubs}


class Services:
    """The routes of all."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, request: Request) -> Answer:
        """What the contracts say this request gets."""
        if request.service in self.state.down:
            raise Refused(503, "unavailable", f"{request.service} is down for the test")
        if request.path == "/health":
            return 200, {"status": "ok"}, {}
        if request.path in ("/internal/introspect", "/metrics", "/docs"):
            return 200, {"leaked": request.path}, {}
        if request.path == "/echo":
            headers = dict(request.headers)
            echo = {"path": request.path, "headers": headers, "bytes": len(request.body)}
            return 200, echo, {}
        return SERVICES[request.service](self.state, request)


def handler(  # noqa: C901 - the shell is one class, made for one service
    service: str, services: Services
) -> type[BaseHTTPRequestHandler]:
    """The HTTP shell of one service."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    services.state.first_part.set()
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)
            left = int(self.headers.get("Content-Length") or 0)
            pieces = []
            while left > 0:
                piece = self.rfile.read1(left)
                if not piece:
                    break
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)

        def _serve(self) -> None:
            body = self._body()
            parts = urlsplit(self.path)
            request = Request(
                service,
                self.command,
                self.path,
                parts.path,
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                body,
            )
            with services.state.lock:
                services.state.requests.append(request)
            headers: dict[str, str] = {}
            answer: Any
            try:
                status, answer, headers = services.answer(request)
            except Refused as refused:
                status, answer = (
                    refused.status,
                    {"status": "error", "errorType": refused.kind, "error": refused.error},
                )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if isinstance(answer, Iterator):
                self.close_connection = True
                self.end_headers()
                for piece in answer:
                    self.wfile.write(piece)
                return
            payload = b"" if answer is None else json.dumps(answer).encode()
            if status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815 - names of the base class

    return Handler


class Server(ThreadingHTTPServer):
    """Threads that end with the test; a browser that goes away is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up half-way is expected: the page gives up old requests."""


@contextmanager
def running_services(services: Services) -> Iterator[dict[str, str]]:
    """The four services on free ports: code → URL."""
    servers = {code: Server(("127.0.0.1", 0), handler(code, services)) for code in SERVICES}
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        for server in servers.values()
    ]
    for thread in threads:
        thread.start()
    try:
        yield {
            code: f"http://127.0.0.1:{server.server_address[1]}" for code, server in servers.items()
        }
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(timeout=5)
