"""Services whose addresses change, and the name server that knows where they are now."""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import door

LOOPBACKS = ("127.0.0.2", "127.0.0.3")
NXDOMAIN = 3


def dns_answer(query: bytes, addresses: Mapping[str, str]) -> bytes:
    """The answer to one question: an A record of `addresses`, none of another type, or NXDOMAIN.

    Source: RFC 1035 §4; the question stands at byte 12, compressed names point to it.
    """
    labels, at = [], 12
    while (length := query[at]) != 0:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[12 : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    address = addresses.get(".".join(labels).lower())
    record = b""
    if address and kind == 1:
        record = struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(address)
    flags = 0x8180 if address else 0x8180 | NXDOMAIN
    return query[:2] + struct.pack("!HHHHH", flags, 1, bool(record), 0, 0) + question + record


def handler(here: str, addresses: Mapping[str, str]) -> type[BaseHTTPRequestHandler]:
    """Answers as the service that lives at `here` now, and refuses what names another."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            code = next((name[:3] for name, at in addresses.items() if at == here), "nobody")
            right = self.headers["X-CloudOpsHub-Service"] == code
            self.send_response(200 if right else 503)
            self.send_header("Content-Length", "3" if right else "0")
            self.end_headers()
            self.wfile.write(code.encode() if right else b"")

        def log_message(self, *_: object) -> None:
            """A passing test prints nothing."""

    return Handler


@contextmanager
def services(addresses: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """(port of both services, host:port of the name server); `addresses` may change meanwhile."""
    port = door.free_port()
    servers = [ThreadingHTTPServer((at, port), handler(at, addresses)) for at in LOOPBACKS]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 0))
    names.settimeout(0.1)
    ended = threading.Event()

    def answer_names() -> None:
        while not ended.is_set():
            try:
                query, sender = names.recvfrom(512)
            except TimeoutError:
                continue
            names.sendto(dns_answer(query, addresses), sender)

    threads = [threading.Thread(target=answer_names)]
    threads += [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield port, f"127.0.0.1:{names.getsockname()[1]}"
    finally:
        ended.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join(timeout=5)
        names.close()
