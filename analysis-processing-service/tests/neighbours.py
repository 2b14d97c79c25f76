"""The neighbours as small honest fakes: one handler for httpx.MockTransport, or one real port.

ubs knows keys and gives tokens; das answers query_range_arrow from a table of series; dis decodes
remote_write with a protobuf reader of its own and keeps what it was sent.
"""

import json
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from uuid import UUID

import cramjam
import httpx
import pyarrow as pa

from analysis_processing.chassis.identity.keys import checksum

TENANT_A = UUID("0a0a0a0a-0000-4000-8000-000000000001")
TENANT_B = UUID("0b0b0b0b-0000-4000-8000-000000000002")


def api_key(letter: str) -> str:
    """A well-formed key."""
    body = "coh_live_" + letter * 32
    return body + checksum(body)


KEYS = {
    api_key("a"): (TENANT_A, ["metrics:read", "analysis:run"]),
    api_key("b"): (TENANT_B, ["metrics:read", "analysis:run"]),
    api_key("r"): (TENANT_A, ["metrics:read"]),
    api_key("w"): (TENANT_A, ["metrics:write"]),
}


@dataclass
class Neighbours:
    """All three services. series: name → (labels, value of a timestamp in ms or None for a gap)."""

    series: list[tuple[dict[str, str], Callable[[int], float | None]]] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    answer_points_max: int = 16_000_000
    windows: list[tuple[int, int]] = field(default_factory=list)
    written: dict[tuple, dict[int, float]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refuse: dict[str, list[httpx.Response]] = field(default_factory=dict)
    hold: threading.Event | None = None
    hold_second_write: threading.Event | None = None
    wrote: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def client(self) -> httpx.AsyncClient:
        """A way to them, as the service takes it."""
        return httpx.AsyncClient(transport=self.transport())

    def answer(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911  a table of routes
        path = request.url.path
        self.asked.append((path, request.headers.get("authorization", "")))
        if self.refuse.get(path):
            return self.refuse[path].pop(0)
        match path:
            case "/health":
                return httpx.Response(200, json={"status": "ok"})
            case "/internal/introspect":
                return self._introspect(json.loads(request.content))
            case "/internal/revocations":
                return httpx.Response(200, json={"seq": 0, "revocations": []})
            case "/internal/token":
                asked = json.loads(request.content)
                token = f"token:{asked['tenant']}:{asked['audience']}:{','.join(asked['scopes'])}"
                return httpx.Response(200, json={"token": token, "expires_in_s": 300})
            case "/api/v1/query_range_arrow":
                return self._query_range(request)
            case "/api/v1/metadata":
                data = {name: [{"type": kind}] for name, kind in self.types.items()}
                return httpx.Response(200, json={"status": "success", "data": data})
            case "/api/v1/write":
                return self._write(request)
        return httpx.Response(404, json={"error": "no such route"})

    def _introspect(self, asked: dict) -> httpx.Response:
        if asked["key"] not in KEYS:
            return httpx.Response(200, json={"active": False, "reason": "unknown"})
        tenant, scopes = KEYS[asked["key"]]
        facts = {"active": True, "key_id": asked["key"][9:12], "tenant": str(tenant)}
        return httpx.Response(200, json={**facts, "scopes": scopes, "ttl_s": 60, "limits": {}})

    def _query_range(self, request: httpx.Request) -> httpx.Response:
        self.entered.set()
        if self.hold is not None:
            self.hold.wait(600)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        start, end, step = (round(float(form[name]) * 1000) for name in ("start", "end", "step"))
        times = range(start, end + 1, step)
        if len(times) * len(self.series) > self.answer_points_max:
            error = {"status": "error", "errorType": "too_large", "error": "too large an answer"}
            return httpx.Response(413, json=error)
        self.windows.append((start, end))
        rows = [(labels, [at(ms) for ms in times]) for labels, at in self.series]
        rows = [row for row in rows if any(value is not None for value in row[1])]
        body = arrow(rows, start, step, len(times))
        return httpx.Response(200, content=body)

    def _write(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["content-encoding"] == "snappy"
        if self.written and self.hold_second_write is not None:
            self.wrote.set()
            self.hold_second_write.wait(600)
        for labels, samples in decode_write(bytes(cramjam.snappy.decompress_raw(request.content))):
            held = self.written.setdefault(tuple(sorted(labels.items())), {})
            held.update(samples)
        return httpx.Response(204)


def arrow(rows: list, start_ms: int, step_ms: int, steps: int, warnings=()) -> bytes:
    """An answer of query_range_arrow: rows of (labels, values), None where there is no value."""
    facts = {"start_ms": str(start_ms), "step_ms": str(step_ms), "steps": str(steps)}
    fields = [
        ("metric", pa.map_(pa.string(), pa.string())),
        ("values", pa.list_(pa.float64(), steps)),
    ]
    schema = pa.schema(fields, {**facts, "warnings": json.dumps(list(warnings)), "infos": "[]"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for first in range(0, len(rows), 3):  # several batches, as das sends them
            some = rows[first : first + 3]
            metric = pa.array([list(labels.items()) for labels, _ in some], fields[0][1])
            values = pa.array([values for _, values in some], fields[1][1])
            writer.write_batch(pa.record_batch([metric, values], schema=schema))
    return bytes(sink.getvalue())


def fields(message: bytes):
    """(tag, value) of each protobuf field; bytes, int, or the 8 bytes of a fixed64."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(message):
        key = varint()
        match key & 7:
            case 0:
                value = varint()
            case 1:
                value, at = message[at : at + 8], at + 8
            case 2:
                length = varint()
                value, at = message[at : at + length], at + length
            case wire:
                raise AssertionError(wire)
        yield key >> 3, value


def decode_write(message: bytes):
    """(labels, {ms: value}) of each series of a WriteRequest, by a reader that shares no code."""
    for tag, series in fields(message):
        assert tag == 1
        labels, samples = {}, {}
        for part, content in fields(series):
            held = dict(fields(content))
            if part == 1:
                labels[held[1].decode()] = held[2].decode()
            else:
                at = held[2] - (1 << 64) if held[2] >> 63 else held[2]
                samples[at] = struct.unpack("<d", held[1])[0]
        yield labels, samples


class Port:
    """The fakes on a real port, for processes that cannot be handed a transport."""

    def __init__(self, neighbours: Neighbours) -> None:
        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                request = httpx.Request(
                    self.command, f"http://x{self.path}", headers=dict(self.headers), content=body
                )
                answer = neighbours.answer(request)
                try:
                    self.send_response(answer.status_code)
                    self.send_header("Content-Length", answer.headers.get("content-length", "0"))
                    self.end_headers()
                    self.wfile.write(answer.content)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the asker was killed: some scenarios do that

            do_GET = do_POST = reply  # noqa: N815

            def log_message(self, *_args) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
