"""One mail by SMTP, as far as a client needs it; no thread, so who waits for it can give it up.

    greeting ─▶ EHLO ─▶ STARTTLS, EHLO ─▶ AUTH ─▶ MAIL ─▶ RCPT of each ─▶ DATA ─▶ QUIT
Source: RFC 5321, 3207, 4954.
"""

import base64
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

import httpcore

LINE_BYTES_MAX: Final = 2048
LINES_MAX: Final = 100
ANSWER_S: Final = 10.0
SMTPS_PORT: Final = 465
_SEVEN_BIT: Final = SMTP.clone(cte_type="7bit")
_ADDRESS: Final = re.compile(r"[!-;=?-~]+")  # ASCII without blanks and angle brackets


class Refused(Exception):
    """The server does not do what it was asked; code: of its answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


class NotOffered(Exception):
    """The server cannot do what is needed."""


class Conversation:
    """Commands and answers over one stream. Lost connections are httpcore's errors."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self.stream = stream
        self._unread = b""

    async def say(self, line: str, wanted: int) -> list[str]:
        """The lines of the answer to a command; `wanted` is the first digit of its code."""
        await self.stream.write(line.encode() + b"\r\n", ANSWER_S)
        return await self.answer(wanted)

    async def answer(self, wanted: int) -> list[str]:
        """The lines of the next answer, or Refused."""
        lines = []
        for _ in range(LINES_MAX):
            line = await self._line()
            lines.append(line[4:])
            if line[3:4] != "-":
                code = int(line[:3]) if re.fullmatch("[2-5][0-9][0-9]", line[:3]) else 0
                if code // 100 != wanted:
                    raise Refused(code, "\n".join(lines))
                return lines
        raise httpcore.ReadError(f"an answer of more than {LINES_MAX} lines")

    async def _line(self) -> str:
        while b"\n" not in self._unread:
            piece = await self.stream.read(LINE_BYTES_MAX, ANSWER_S)
            self._unread += piece
            if not piece or len(self._unread) > 2 * LINE_BYTES_MAX:
                raise httpcore.ReadError("the connection was closed, or a line is too long")
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace").rstrip()

    async def greeted(self) -> Mapping[str, str]:
        """What the server offers: `AUTH` → `PLAIN LOGIN`."""
        offers = (line.upper().partition(" ") for line in (await self.say("EHLO localhost", 2))[1:])
        return {name: more for name, _, more in offers}

    async def log_in(self, offers: Mapping[str, str], user: str, password: str) -> None:
        """The server knows who sends."""
        ways = offers.get("AUTH", "").split()
        if "PLAIN" in ways:
            await self.say("AUTH PLAIN " + _base64(f"\0{user}\0{password}"), 2)
        elif "LOGIN" in ways:
            await self.say("AUTH LOGIN", 3)
            await self.say(_base64(user), 3)
            await self.say(_base64(password), 2)
        else:
            raise NotOffered("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")

    async def hand_over(self, mail: EmailMessage) -> str:
        """The server has the mail; returns what it says of recipients that it refused.

        Raises Refused when none is left, ValueError for an address that cannot be sent.
        """
        (sender,), recipients = _addresses(mail["From"]), _addresses(mail["To"])
        await self.say(f"MAIL FROM:<{sender}>", 2)
        refusals = []
        for recipient in recipients:
            try:
                await self.say(f"RCPT TO:<{recipient}>", 2)
            except Refused as exc:
                refusals.append((recipient, exc))
        if len(refusals) == len(recipients):
            raise refusals[0][1]
        await self.say("DATA", 3)
        text = re.sub(rb"\r\n|\r|\n", b"\r\n", mail.as_bytes(policy=_SEVEN_BIT))
        await self.stream.write(re.sub(rb"(?m)^\.", b"..", text) + b"\r\n.\r\n", ANSWER_S)
        await self.answer(2)
        return "; ".join(f"not to {recipient}: {exc}" for recipient, exc in refusals)


async def send(
    network: httpcore.AsyncNetworkBackend,
    smarthost: str,
    mail: EmailMessage,
    *,
    login: tuple[str, str] | None,
    needs_tls: bool,
) -> str:
    """The mail is the server's; returns what it says of recipients that it refused.

    Raises Refused, NotOffered, ValueError, and what `network` does.
    """
    host, _, port = smarthost.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context()
    stream = await network.connect_tcp(host, int(port), ANSWER_S)
    try:
        if int(port) == SMTPS_PORT:
            stream = await stream.start_tls(context, host, ANSWER_S)
        talk = Conversation(stream)
        await talk.answer(2)
        offers = await talk.greeted()
        if needs_tls and int(port) != SMTPS_PORT:
            if "STARTTLS" not in offers:
                raise NotOffered("the mail server does not offer STARTTLS")
            await talk.say("STARTTLS", 2)
            stream = await stream.start_tls(context, host, ANSWER_S)
            talk = Conversation(stream)  # what was sent in clear before is not read
            offers = await talk.greeted()
        if login:
            await talk.log_in(offers, *login)
        refusals = await talk.hand_over(mail)
        # It is delivered, whatever comes of this.
        with suppress(Refused, httpcore.NetworkError, httpcore.TimeoutException):
            await talk.say("QUIT", 2)
        return refusals
    finally:
        await stream.aclose()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _addresses(header: Any) -> list[str]:
    addresses = [one.addr_spec for one in header.addresses]
    if not addresses or not all(map(_ADDRESS.fullmatch, addresses)):
        raise ValueError("an address of the mail is none that can be sent, or there is none")
    return addresses
