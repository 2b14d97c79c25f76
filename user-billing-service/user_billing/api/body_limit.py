"""No request body above a bound is read into memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import AccountError
from ..kinds import Kind
from . import problems

BODY_BYTES_MAX = 64 * 1024


class BodyTooLarge(AccountError):
    """The request body is larger than any account call needs."""

    kind = Kind.TOO_LARGE


class BodyLimit:
    """ASGI middleware: 413 for a larger body, declared or not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes requests whose body keeps within BODY_BYTES_MAX."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        error = BodyTooLarge(max_bytes=BODY_BYTES_MAX)
        if declared.isdigit() and int(declared[:20]) > BODY_BYTES_MAX:
            await problems.render(error, scope["path"], {"Connection": "close"})(
                scope, receive, send
            )
            return
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise error
            return message

        await self.app(scope, receive_bounded, send)
