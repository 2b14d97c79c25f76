"""Receivers of notifications that really listen: an HTTP server and an SMTP server, on loopback."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from data_api.chassis.clock import Clock


@dataclass
class Request:
    path: str
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """Answers `statuses` one after the other, then 200; before_answer runs first."""

    requests: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    before_answer: object = None
    url: str = ""
    host: str = ""

    async def handle(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(head[0].split()[1], headers, body))
            if self.before_answer is not None:
                await self.before_answer()
            status = self.statuses.pop(0) if self.statuses else 200
            where = b"Location: /elsewhere\r\n" if status == 302 else b""
            text = b"ok: " + headers.get("authorization", "").encode()
            length = f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
            writer.write(f"HTTP/1.1 {status} X\r\n".encode() + where + length + text)
            await writer.drain()
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.host}"
        try:
            yield self
        finally:
            server.close()


@dataclass
class MailServer:
    """Takes mails without TLS; refuses recipients at `refused.example` for good."""

    mails: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    offers: str = "250-hub\r\n250 AUTH PLAIN"
    bye: str = "221 bye"
    address: str = ""

    async def handle(self, reader, writer):
        def say(text):
            writer.write(f"{text}\r\n".encode())

        say("220 hub")
        while line := (await reader.readline()).decode().strip():
            match line.split()[0].upper():
                case "EHLO":
                    say(self.offers)
                case "AUTH":
                    self.logins.append(line.split()[2])
                    say("235 ok")
                case "RCPT" if "refused.example" in line:
                    say("550 no such user")
                case "DATA":
                    say("354 go")
                    mail = (await reader.readuntil(b"\r\n.\r\n")).decode()
                    self.mails.append(mail)
                    say("250 taken")
                case "QUIT":
                    say(self.bye)
                    break
                case _:
                    say("250 ok")
        writer.close()

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()


class MovedClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, now_ms):
        self._now = datetime.fromtimestamp(now_ms / 1000, UTC)

    def now(self):
        return self._now

    def move(self, **by):
        self._now += timedelta(**by)
