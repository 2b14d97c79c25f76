"""No request body above a bound is read into memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from user_billing.chassis import problems
from user_billing.chassis.kinds import Kind
from user_billing.errors import AccountError
from user_billing.usage import events

BODY_BYTES_MAX = 64 * 1024
LARGER = {"/api/v1/usage/events": events.BYTES_MAX, "/internal/attribution": 2 * 1024 * 1024}
"""Paths whose bodies may be larger; a split is 24 hours of 501 teams, some 80 bytes a team."""


class BodyTooLarge(AccountError):
    """The request body is larger than any account call needs."""

    kind = Kind.TOO_LARGE


class BodyLimit:
    """ASGI middleware: 413 for a larger body, declared or not; a smaller one is handed on whole."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes requests whose body keeps within its bound."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        bytes_max = LARGER.get(scope["path"], BODY_BYTES_MAX)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = declared.isdigit() and int(declared[:20]) > bytes_max
        messages: list[Message] = []
        taken, more = 0, not too_large
        while more:
            message = await receive()
            messages.append(message)
            taken += len(message.get("body", b""))
            too_large = taken > bytes_max
            more = bool(message.get("more_body")) and not too_large
        if too_large:
            error = BodyTooLarge(bytes_max=bytes_max)
            # The connection stays open, and the server drops what still arrives: closing it on a
            # body that is on its way would take the answer along.
            await problems.render(error, scope["path"])(scope, receive, send)
            return
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)
