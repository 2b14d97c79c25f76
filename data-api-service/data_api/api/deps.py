"""What routes are given: caller, engine, time, parameters; and work that ends with its client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

import anyio.to_thread
import structlog
from fastapi import Depends, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from data_api.api import multipart
from data_api.api.params import Params
from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient, Limits, Principal
from data_api.chassis.probes import Drain
from data_api.engine import Engine
from data_api.errors import BodyTooLarge, QueryCanceled
from data_api.notify.service import Notifications
from data_api.rules.backfill import Backfills
from data_api.rules.repository import Rules

FORM: Final = "application/x-www-form-urlencoded"
BODY_BYTES_MAX: Final = 1024 * 1024
PIECE_BYTES: Final = 256 * 1024
PIECE_S_MAX: Final = 60.0
WATCHED_AFTER_S: Final = 0.02

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What the app is made of, kept in `app.state.services`."""

    engine: Engine
    identity: IdentityClient
    clock: Clock
    drain: Drain
    rules: Rules
    backfills: Backfills
    notifications: Notifications


def services(request: Request) -> Services:
    """What the app is made of."""
    made_of: Services = request.app.state.services
    return made_of


async def reader(request: Request) -> Principal:
    """The verified caller, who may read metrics."""
    principal = await services(request).identity.authenticate(request.headers)
    principal.require("metrics:read")
    return principal


async def _now_ms(request: Request) -> int:
    """The time of day; a coroutine, because FastAPI sends plain functions through a thread."""
    return services(request).clock.now_ms()


async def _params(request: Request) -> Params:
    """URL and form parameters."""
    query: bytes = request.scope["query_string"]
    kind = request.headers.get("content-type", "")
    if request.method == "POST" and kind.lower().startswith(FORM):
        body = await body_of(request)
        if len(body) > multipart.BYTES_MAX:
            return await anyio.to_thread.run_sync(Params.parse, body, query)
        return Params.parse(body, query)
    if request.method == "POST" and kind.lower().startswith(multipart.MEDIA_TYPE):
        return Params.parse(query, form=multipart.pairs(kind, await body_of(request)))
    return Params.parse(query)


async def body_of(request: Request, limit: int = BODY_BYTES_MAX) -> bytes:
    """The whole body of at most so many bytes. Raises BodyTooLarge."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise BodyTooLarge(limit_bytes=limit)
    except ClientDisconnect as exc:
        raise QueryCanceled from exc
    return bytes(body)


class Connected:
    """`async with`: once the client has left, the block is cancelled and QueryCanceled raised.

    Noticed from WATCHED_AFTER_S on: a task that watches costs as much as a small query does.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_left = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = task.get_loop().call_later(WATCHED_AFTER_S, self._begin)

    async def __aexit__(self, _: object, exc: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if exc is not None and self._has_left and self._task.uncancel() == 0:
            raise QueryCanceled from exc  # whatever else its cancellation led to

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()


class Held(Response):
    """What a query answers, made while its client is there and held until it is sent.

    The query keeps its slot and its memory until the last byte is handed over, so clients that
    read slowly hold what their tenant may hold and no more. What fails before the first byte is
    answered like any other failure.
    """

    def __init__(
        self,
        request: Request,
        opened: AbstractAsyncContextManager[list[bytes] | AsyncIterator[bytes]],
        media_type: str = "application/json",
    ) -> None:
        super().__init__(media_type=media_type)
        self._request = request
        self._opened = opened

    async def __call__(self, _: Scope, _receive: Receive, send: Send) -> None:
        """Makes the answer, then sends it in pieces; both end when the client leaves."""
        has_begun = False
        try:
            async with Connected(self._request.receive), self._opened as body:
                del self.headers["content-length"]
                size = sum(map(len, body)) if isinstance(body, list) else 0
                if size:
                    self.headers["content-length"] = str(size)
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                has_begun = True
                await send(start)
                if isinstance(body, list) and size <= PIECE_BYTES:
                    await send({"type": "http.response.body", "body": b"".join(body)})
                else:
                    await _sent(_joined(body) if isinstance(body, list) else body, send)
        except QueryCanceled:
            if not has_begun:
                raise  # else there is nobody to tell


async def _sent(pieces: AsyncIterator[bytes], send: Send) -> None:
    """The body is handed over, each piece within PIECE_S_MAX."""
    try:
        async for piece in pieces:
            async with asyncio.timeout(PIECE_S_MAX):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        log.warning("answer_not_read", piece_s_max=PIECE_S_MAX)
        return  # without an end: the server closes the connection
    await send({"type": "http.response.body", "body": b""})


async def _joined(pieces: list[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about PIECE_BYTES."""
    first, size = 0, 0
    for end, piece in enumerate(pieces, 1):
        size += len(piece)
        if size >= PIECE_BYTES or end == len(pieces):
            yield b"".join(pieces[first:end])
            first, size = end, 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a verified caller, with its parameters, and what answers it."""

    request: Request
    caller: Principal
    params: Params
    engine: Engine
    now_ms: int

    @property
    def who(self) -> tuple[UUID, Limits]:
        """Tenant and plan."""
        return self.caller.tenant, self.caller.limits

    def held(
        self,
        opened: AbstractAsyncContextManager[list[bytes] | AsyncIterator[bytes]],
        media_type: str = "application/json",
    ) -> Held:
        """The answer that `opened` makes."""
        return Held(self.request, opened, media_type)


async def ask(request: Request) -> Ask:
    """The request, read; a form only after its sender is known."""
    made_of, caller = services(request), await reader(request)
    return Ask(request, caller, await _params(request), made_of.engine, made_of.clock.now_ms())


async def _admin(caller: Annotated[Principal, Depends(reader)]) -> Principal:
    caller.require("admin")
    return caller


Asked = Annotated[Ask, Depends(ask)]
Caller = Annotated[Principal, Depends(reader)]
Admin = Annotated[Principal, Depends(_admin)]
"""Who may change what is evaluated and who is notified."""
NowMs = Annotated[int, Depends(_now_ms)]
