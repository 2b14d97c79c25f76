"""Letters that a service under test has sent, and a mail server that takes them."""

import contextlib
import email
import email.policy
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path


def letters_to(folder: Path, address: str) -> list[EmailMessage]:
    """The letters in an outbox folder to the address, oldest first (their ids are by time)."""
    parsed = [
        email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        for file in sorted(folder.glob("*.eml"))
    ]
    return [letter for letter in parsed if letter["To"] == address]


def link(letter: EmailMessage) -> tuple[str, str]:
    """The page and the token of the letter's link."""
    match = re.search(r"/#/(\w+)/(\S+)", letter.get_content())
    assert match, letter.get_content()
    return match[1], match[2]


@dataclass
class MailServer:
    """The least of SMTP (RFC 5321). refuse: how many messages it still answers with 451."""

    port: int
    refuse: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    self._converse(stream)

    def _converse(self, stream) -> None:
        def say(line: str) -> None:
            stream.write(f"{line}\r\n".encode())
            stream.flush()

        say("220 sink")
        recipient = ""
        while line := stream.readline():
            verb = line.split()[0].upper()
            if verb == b"RCPT":
                recipient = line.decode().partition("<")[2].partition(">")[0]
            if verb == b"DATA":
                say("354 go on")
                data = b"".join(iter(stream.readline, b".\r\n"))
                if self.refuse:
                    self.refuse -= 1
                    say("451 later")
                else:
                    self.taken.append((recipient, data))
                    say("250 taken")
            else:
                say("221 bye" if verb == b"QUIT" else "250 ok")


@contextlib.contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server on a port of its own until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = MailServer(listener.getsockname()[1])
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
