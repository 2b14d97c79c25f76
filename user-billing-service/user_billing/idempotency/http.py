"""`Idempotency-Key` over HTTP. A route that creates takes one of these as its last parameter:

    once: Once            the header may be given
    key: RequiredKey      it must be

The middleware keeps the answer before it is sent. Another caller, path or body is another request.
"""

import hashlib
from typing import Annotated
from uuid import UUID

import anyio.to_thread
import structlog
from fastapi import Depends, Header, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from user_billing.api.deps import Caller, ServicesDep
from user_billing.errors import BadInput
from user_billing.idempotency.service import Answer, Answers

log = structlog.get_logger()
_CLAIM = "idempotency_claim"


class Replay(Exception):
    """The request was done before; this is its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


async def replay(_request: Request, exc: Exception) -> Response:
    """The stored answer, as an exception handler gives it."""
    assert isinstance(exc, Replay)
    headers = {"Idempotency-Replayed": "true", "Cache-Control": "no-store"}
    return Response(exc.answer.body, exc.answer.status, headers, "application/json")


async def claim(
    request: Request,
    caller: Caller,
    services: ServicesDep,
    idempotency_key: Annotated[str | None, Header(pattern="^[!-~]{1,255}$")] = None,
) -> str | None:
    """The key, claimed for this request; None without one. Raises Replay, Conflict."""
    if idempotency_key is None:
        return None
    digest = hashlib.sha256()
    for part in (caller.actor.subject, request.method, str(request.url.path), request.url.query):
        digest.update(part.encode() + b"\0")
    digest.update(await request.body())
    taken = (caller.tenant, idempotency_key)
    answer = await anyio.to_thread.run_sync(services.answers.claim, *taken, digest.digest())
    if answer is not None:
        raise Replay(answer)
    request.scope["state"][_CLAIM] = (services.answers, *taken)
    return idempotency_key


Once = Annotated[str | None, Depends(claim)]


def required(key: Once) -> str:
    """The key. Raises BadInput without one."""
    if key is None:
        raise BadInput(field="Idempotency-Key", needs="a header with a text of your own choice")
    return key


RequiredKey = Annotated[str, Depends(required)]


class KeepAnswers:
    """ASGI middleware: the answer to a claimed key is kept, or its key released."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; answers to claimed keys when they are kept."""
        scope.setdefault("state", {})
        waiting: list[Message] = []

        async def keep(message: Message) -> None:
            if _CLAIM not in scope["state"]:
                await send(message)
                return
            waiting.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await anyio.to_thread.run_sync(_settle, scope["state"][_CLAIM], waiting)
                for one in waiting:
                    await send(one)

        await self.app(scope, receive, keep)


def _settle(claimed: tuple[Answers, UUID, str], messages: list[Message]) -> None:
    answers, org, key = claimed
    status = messages[0]["status"]
    body = b"".join(message.get("body", b"") for message in messages)
    try:
        if 200 <= status < 300:
            answers.keep(org, key, Answer(status, body))
        elif status < 500:
            answers.release(org, key)
    except Exception:
        log.exception("answer_not_kept", key=key)  # it is sent; the key is free after a minute
