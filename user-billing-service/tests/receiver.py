"""A server of a customer: it notes what arrives, and answers as a test wants."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """answers: statuses in their order, the last for all further ones. gate: closed, all wait."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [204])
    messages: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self):
        return [headers["webhook-id"] for headers, _ in self.messages]


@contextlib.contextmanager
def receiving(host="127.0.0.1"):
    """A receiver that runs until the block ends."""
    receiver = Receiver()
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.messages.append((dict(self.headers), body))
            receiver.gate.wait(600)
            more = len(receiver.answers) > 1
            status = receiver.answers.pop(0) if more else receiver.answers[0]
            with contextlib.suppress(OSError):  # who sent it may be dead
                self.send_response(status)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        receiver.url = f"http://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.gate.set()
            server.shutdown()
