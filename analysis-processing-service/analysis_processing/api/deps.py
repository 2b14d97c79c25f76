"""What routes ask for, as Annotated aliases."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar, cast
from uuid import UUID

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine

from analysis_processing.chassis.identity import IdentityClient, Principal
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.chassis.probes import Drain
from analysis_processing.clients.http import Door
from analysis_processing.errors import BodyTooLarge, InvalidJob, InvalidPage
from analysis_processing.jobs.claims import TimeOf
from analysis_processing.settings import Settings

Body = TypeVar("Body", bound=BaseModel)
BODY_BYTES_MAX: Final = 128 * 1024
"""Above the longest query with each character escaped."""


@dataclass(frozen=True, slots=True)
class Services:
    """The adapters, chosen in app.py, in the app's state.

    data_api: data-api-service, asked for a tenant. streams: room for callers who watch a job.
    """

    settings: Settings
    engine: Engine
    identity: IdentityClient
    now: TimeOf
    drain: Drain
    data_api: Callable[[UUID], Door]
    streams: asyncio.Semaphore


def services(request: Request) -> Services:
    """The app's adapters."""
    return cast("Services", request.app.state.services)


ServicesDep = Annotated[Services, Depends(services)]


def caller_with(scope: str) -> Any:
    """The caller as a dependency; without the scope, refused."""

    async def caller(request: Request, held: ServicesDep) -> Principal:
        principal = await held.identity.authenticate(request.headers)
        principal.require(scope)
        return principal

    return Depends(caller)


Reader = Annotated[Principal, caller_with("metrics:read")]
Analyst = Annotated[Principal, caller_with("analysis:run")]


async def posted_json(request: Request, _: Analyst) -> Any:
    """The body, read only after its sender is known. Raises BodyTooLarge, InvalidJob."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=BODY_BYTES_MAX)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidJob(detail="the body is not JSON") from exc


PostedJson = Annotated[Any, Depends(posted_json)]


def validated(model: type[Body], posted: Any) -> Body:
    """The body of a request; raises RequestValidationError."""
    try:
        return model.model_validate(posted)
    except ValidationError as exc:
        faults = [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(faults) from exc


def document(model: type[Body]) -> dict[str, Any]:
    """What OpenAPI says of a body that `posted_json` reads."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def identity_of(text: str, absent: type[ServiceError]) -> UUID:
    """The id in a path; what is no UUID names nothing, and raises `absent`."""
    try:
        return UUID(text)
    except ValueError:
        raise absent(id=text[:64]) from None


def instant(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor_of(*place: str | float) -> str:
    """Where the next page begins, opaque to the caller."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(cursor: str, *kinds: type) -> list[Any]:
    """What `cursor_of` made a cursor of; raises InvalidPage when it is of other types."""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor))
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or [type(one) for one in place] != list(kinds):
        raise InvalidPage(detail="cursor is not one that this route gave")
    return place
