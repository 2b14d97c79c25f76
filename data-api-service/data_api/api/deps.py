"""What routes are given: caller, engine, time, parameters; and work that ends with its client."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import anyio
from fastapi import Depends, Request

from data_api.api.params import Params
from data_api.chassis.clock import Clock
from data_api.chassis.identity import IdentityClient, Principal
from data_api.chassis.probes import Drain
from data_api.engine import Engine
from data_api.errors import BodyTooLarge, QueryCanceled

T = TypeVar("T")
FORM: Final = "application/x-www-form-urlencoded"
BODY_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Services:
    """What the app is made of, kept in `app.state.services`."""

    engine: Engine
    identity: IdentityClient
    clock: Clock
    drain: Drain


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def reader(request: Request) -> Principal:
    """The verified caller, who may read metrics."""
    principal = await _services(request).identity.authenticate(request.headers)
    principal.require("metrics:read")
    return principal


def _engine(request: Request) -> Engine:
    return _services(request).engine


def _now_ms(request: Request) -> int:
    return _services(request).clock.now_ms()


async def _params(request: Request, _: Annotated[Principal, Depends(reader)]) -> Params:
    """URL and form parameters; a form is read only after its sender is known."""
    query = request.url.query.encode()
    if request.method != "POST" or not request.headers.get("content-type", "").startswith(FORM):
        return Params.parse(query)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
    return Params.parse(bytes(body), query)


Caller = Annotated[Principal, Depends(reader)]
EngineDep = Annotated[Engine, Depends(_engine)]
NowMs = Annotated[int, Depends(_now_ms)]
Query = Annotated[Params, Depends(_params)]


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. When the client leaves, it is cancelled and QueryCanceled raised."""
    results: list[T] = []
    has_left = False
    failure: BaseException | None = None

    async def watch(scope: anyio.CancelScope) -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        try:
            results.append(await work)
        except Exception as exc:  # noqa: BLE001 - it leaves the group below, not wrapped in a group
            failure = exc
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not results:
        assert has_left
        raise QueryCanceled
    return results[0]
