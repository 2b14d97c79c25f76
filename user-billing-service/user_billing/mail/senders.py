"""The ways out of the outbox, by `UBS_MAIL`.

console                          the log, with the links: for development, it warns
file:/folder                     one .eml a letter, written whole and then renamed
smtp://user:password@host:587    STARTTLS, refused without it
smtps://user:password@host:465   TLS from the start
smtp+plain://host:25             no encryption: a relay on the same machine
"""

import os
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import structlog

from user_billing.errors import BadInput

log = structlog.get_logger()

TIMEOUT_S = 10.0
PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}


class Sender(Protocol):
    """Takes one message, or raises OSError (smtplib's errors are some)."""

    def send(self, message: EmailMessage) -> None:
        """The message has left; its Message-ID is the same for each attempt at one letter."""


class Console:
    """Writes letters to the log."""

    def send(self, message: EmailMessage) -> None:
        """The letter is in the log, its links too."""
        log.warning("mail", to=message["To"], text=message.get_content())


@dataclass(frozen=True)
class Folder:
    """Writes letters into a folder."""

    path: Path

    def send(self, message: EmailMessage) -> None:
        """`<id>.eml` is whole; a second attempt writes it again."""
        name = message["Message-ID"].strip("<").partition("@")[0]
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = self.path / f".{name}.tmp"
        unfinished.touch(mode=0o600)
        with unfinished.open("wb") as file:
            file.write(message.as_bytes())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.path / f"{name}.eml")


@dataclass(frozen=True)
class Smtp:
    """Gives letters to a mail server; one connection a letter."""

    url: SplitResult

    def send(self, message: EmailMessage) -> None:
        """The server has taken the message."""
        with self._connection() as server:
            if self.url.username:
                server.login(unquote(self.url.username), unquote(self.url.password or ""))
            server.send_message(message)

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        context, url = ssl.create_default_context(), self.url
        host, port = url.hostname or "", url.port or PORTS[url.scheme]
        if url.scheme == "smtps":
            with smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context) as server:
                yield server
            return
        with smtplib.SMTP(host, port, timeout=TIMEOUT_S) as server:
            if url.scheme == "smtp":
                server.starttls(context=context)
            yield server


def sender_of(where: str) -> Sender:
    """The way out that `UBS_MAIL` names. Raises BadInput without its value, which may be secret."""
    if where == "console":
        return Console()
    kind, _, path = where.partition(":")
    if kind == "file" and path.startswith("/"):
        return Folder(Path(path))
    url = urlsplit(where)
    if url.scheme in PORTS and url.hostname:
        return Smtp(url)
    raise BadInput(
        field="UBS_MAIL", rule="console, file:/folder, smtp://host, smtps://… or smtp+plain://…"
    )
