"""One attempt to send a message, bounded in time; its outcome in words without secrets.

2xx, mail taken ─▶ delivered    no answer, 408, 429, 5xx, SMTP 4xx ─▶ retry    the rest ─▶ failed
"""

import asyncio
import smtplib
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import anyio
import anyio.to_thread
import httpx

from data_api.notify.fields import MASK
from data_api.notify.guard import GuardedTransport, Network, Refused, checked
from data_api.notify.integrations import Email, Global
from data_api.notify.messages import Message, given

ATTEMPT_S: Final = 10.0
MAIL_S: Final = 30.0
MAILS_AT_ONCE: Final = 8
ANSWER_BYTES: Final = 200
"""Of an answer that is no success, so much is shown in the delivery log."""
DETAIL_MAX: Final = 500
RETRIED: Final = frozenset({408, 429})
SMTPS_PORT: Final = 465


@dataclass(frozen=True, slots=True)
class Outcome:
    """result: `delivered`, `retry` or `failed`; status: of HTTP or SMTP, None without an answer."""

    result: str
    status: int | None = None
    detail: str = ""
    duration_ms: int = 0


class Sender:
    """Sends to where tenants may reach: public addresses, and networks that are allowed."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._mails = anyio.CapacityLimiter(MAILS_AT_ONCE)
        # Each message is sent as if it were the first: no cookies, no proxy of the environment.
        self._http = httpx.AsyncClient(
            transport=GuardedTransport(allowed),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )

    async def close(self) -> None:
        """No connection of ours is left."""
        await self._http.aclose()

    async def post(self, message: Message, secrets: Iterable[str] = ()) -> Outcome:
        """What came of one POST; redirects are not followed."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(ATTEMPT_S):
                outcome = await self._post(message)
        except TimeoutError:
            outcome = Outcome("retry", None, f"no answer within {ATTEMPT_S:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            outcome = _unanswered(exc)
        return _finished(outcome, began_s, secrets)

    async def _post(self, message: Message) -> Outcome:
        async with self._http.stream(
            "POST",
            message.url,
            content=message.body,
            headers=message.headers,
            timeout=ATTEMPT_S,
            follow_redirects=False,
        ) as answer:
            status = answer.status_code
            if answer.is_success:
                return Outcome("delivered", status)
            excerpt = b""
            async for piece in answer.aiter_raw():
                excerpt += piece
                if len(excerpt) >= ANSWER_BYTES:
                    break
            text = excerpt[:ANSWER_BYTES].decode(errors="replace")
            is_retried = status in RETRIED or answer.is_server_error
            return Outcome("retry" if is_retried else "failed", status, text)

    async def mail(
        self, mail: EmailMessage, to: Email, defaults: Global, secrets: Iterable[str] = ()
    ) -> Outcome:
        """What came of one mail."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(MAIL_S):
                await anyio.to_thread.run_sync(
                    self._mail, mail, to, defaults, abandon_on_cancel=True, limiter=self._mails
                )
            outcome = Outcome("delivered", 250)
        except TimeoutError:
            outcome = Outcome("retry", None, f"the mail server did not finish within {MAIL_S:g} s")
        except (Refused, smtplib.SMTPNotSupportedError, ssl.SSLError, ValueError) as exc:
            outcome = Outcome("failed", None, f"{type(exc).__name__}: {exc}")
        except smtplib.SMTPResponseException as exc:
            outcome = _answered(exc.smtp_code, exc.smtp_error)
        except smtplib.SMTPRecipientsRefused as exc:
            outcome = _answered(*next(iter(exc.recipients.values())))
        except (smtplib.SMTPException, OSError) as exc:
            outcome = Outcome("retry", None, f"{type(exc).__name__}: {exc}")
        return _finished(outcome, began_s, secrets)

    def _mail(self, mail: EmailMessage, to: Email, defaults: Global) -> None:
        """Blocks; raises what smtplib and the sockets do."""
        host, _, port = given(to.smarthost, defaults.smtp_smarthost).rpartition(":")
        context = ssl.create_default_context()
        name = host.strip("[]")
        user = to.auth_username if to.auth_username is not None else defaults.smtp_auth_username
        needs_tls = to.require_tls if to.require_tls is not None else defaults.smtp_require_tls
        # Made without a host, so that nothing is connected to but what was checked.
        server = smtplib.SMTP(timeout=ATTEMPT_S)
        connected = self._connected(name, int(port))
        if int(port) == SMTPS_PORT:
            connected = context.wrap_socket(connected, server_hostname=name)
        server._get_socket = lambda *_: connected  # type: ignore[attr-defined]  # noqa: SLF001
        server._host = name  # type: ignore[attr-defined]  # noqa: SLF001 - for STARTTLS
        code, answer = server.connect(name, int(port))
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)
        with server:
            server.ehlo()
            if needs_tls and int(port) != SMTPS_PORT:
                server.starttls(context=context)
                server.ehlo()
            if user:
                secret = given(to.auth_password, defaults.smtp_auth_password)
                server.login(user, secret.get_secret_value())
            server.send_message(mail)

    def _connected(self, host: str, port: int) -> socket.socket:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failure = OSError("the host has no address")
        for address in checked(infos, self._allowed):
            try:
                return socket.create_connection((address, port), ATTEMPT_S)
            except OSError as exc:
                failure = exc
        raise failure


def _unanswered(exc: Exception) -> Outcome:
    """Final where we cannot or may not send it; the words for a bad header would quote it."""
    if isinstance(exc.__cause__, Refused):
        return Outcome("failed", None, str(exc))
    if isinstance(exc, httpx.LocalProtocolError | httpx.InvalidURL | UnicodeError):
        return Outcome("failed", None, "its URL or a header has characters that cannot be sent")
    return Outcome("retry", None, f"{type(exc).__name__}: {exc}")


def _answered(code: int, answer: bytes | str) -> Outcome:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return Outcome("retry" if 400 <= code < 500 else "failed", code, text[:ANSWER_BYTES])


def _finished(outcome: Outcome, began_s: float, secrets: Iterable[str]) -> Outcome:
    detail = outcome.detail
    for secret in filter(None, secrets):
        detail = detail.replace(secret, MASK)
    duration_ms = round((time.monotonic() - began_s) * 1000)
    return replace(outcome, detail=detail[:DETAIL_MAX], duration_ms=duration_ms)
