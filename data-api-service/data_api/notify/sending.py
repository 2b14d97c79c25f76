"""One attempt to send a message, bounded in time; its outcome in words without secrets.

2xx, mail taken ─▶ delivered    no answer, 408, 429, 5xx, SMTP 4xx ─▶ retry    the rest ─▶ failed
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpcore
import httpx

from data_api.chassis.guard import Guard, GuardedTransport, Network, Refused
from data_api.notify import smtp
from data_api.notify.fields import MASK
from data_api.notify.integrations import Email
from data_api.notify.messages import Message

ATTEMPT_S: Final = 10.0
MAIL_S: Final = 30.0
ANSWER_BYTES: Final = 4096
"""Of an answer that is no success, so much is read: more than is shown, so that a secret in it is
masked before it could be cut in two."""
DETAIL_MAX: Final = 500
RETRIED: Final = frozenset({408, 429})


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
        self._guard = Guard(allowed, "DAS_NOTIFY_ALLOW")
        # Each message is sent as if it were the first: no cookies, no proxy of the environment.
        self._http = httpx.AsyncClient(
            transport=GuardedTransport(self._guard),
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
            is_retried = status in RETRIED or answer.is_server_error
            text = excerpt.decode(errors="replace")
            return Outcome("retry" if is_retried else "failed", status, text)

    async def mail(self, mail: EmailMessage, to: Email, secrets: Iterable[str] = ()) -> Outcome:
        """What came of one mail."""
        began_s = time.monotonic()
        login = (to.auth_username, to.auth_password.get_secret_value())
        try:
            async with asyncio.timeout(MAIL_S):
                refusals = await smtp.send(
                    self._guard,
                    to.smarthost,
                    mail,
                    login=login if to.auth_username else None,
                    needs_tls=to.require_tls,
                )
            outcome = Outcome("delivered", 250, refusals)
        except TimeoutError:
            outcome = Outcome("retry", None, f"the mail server did not finish within {MAIL_S:g} s")
        except smtp.Refused as exc:
            result = "retry" if 400 <= exc.code < 500 else "failed"
            outcome = Outcome(result, exc.code, exc.text)
        except (Refused, smtp.NotOffered, ValueError) as exc:
            outcome = Outcome("failed", None, str(exc))
        except (httpcore.NetworkError, httpcore.TimeoutException) as exc:
            outcome = Outcome("retry", None, f"{type(exc).__name__}: {exc}")
        return _finished(outcome, began_s, secrets)


def _unanswered(exc: Exception) -> Outcome:
    """Final where we cannot or may not send it; the words for a bad header would quote it."""
    if isinstance(exc.__cause__, Refused):
        return Outcome("failed", None, str(exc))
    if isinstance(exc, httpx.LocalProtocolError | httpx.InvalidURL | UnicodeError):
        return Outcome("failed", None, "its URL or a header has characters that cannot be sent")
    return Outcome("retry", None, f"{type(exc).__name__}: {exc}")


def _finished(outcome: Outcome, began_s: float, secrets: Iterable[str]) -> Outcome:
    detail = outcome.detail
    for secret in filter(None, secrets):
        detail = detail.replace(secret, MASK)
    duration_ms = round((time.monotonic() - began_s) * 1000)
    return replace(outcome, detail=detail[:DETAIL_MAX], duration_ms=duration_ms)
