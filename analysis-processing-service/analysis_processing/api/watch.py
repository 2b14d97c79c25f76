"""Watch routes: what is watched for the caller's organisation, and how each watch fares."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import anyio
from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from analysis_processing.analyses import resolved_params
from analysis_processing.api.deps import (
    Analyst,
    PostedJson,
    Reader,
    ServicesDep,
    document,
    identity_of,
    instant,
    validated,
)
from analysis_processing.api.jobs import check_query
from analysis_processing.errors import InvalidJob, WatchNotFound
from analysis_processing.jobs.database import transaction
from analysis_processing.watch import watches
from analysis_processing.watch.watches import Watch

router = APIRouter(prefix="/api/v1/watches", tags=["watches"])

SHOWN = ["name", "query", "step_ms", "params", "enabled", "series", "error", "created_by"]


class WatchBody(BaseModel):
    """A watch as its owner writes it; `params` are those of kind `anomaly`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=200)
    query: str = Field(min_length=1, max_length=16_384)
    step_ms: int = Field(60_000, ge=15_000, le=3_600_000)
    params: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True


def wanted_watch(posted: PostedJson) -> dict[str, Any]:
    """The body, checked and in its one spelling; raises RequestValidationError, InvalidJob."""
    body = validated(WatchBody, posted)
    name, query = body.name.strip(), body.query.strip()
    if not name or not query or "\x00" in name + query:
        raise InvalidJob(detail="name or query is empty or holds a NUL")
    params = resolved_params("anomaly", body.params, body.step_ms)
    return body.model_dump() | {"name": name, "query": query, "params": params}


def own_watch(text: Annotated[str, Path(alias="id")], caller: Analyst, held: ServicesDep) -> UUID:
    """The id of a watch of the caller's; raises WatchNotFound before a body is read."""
    identity = identity_of(text, WatchNotFound)
    with transaction(held.engine) as db:
        watches.get(db, caller.tenant, identity)
    return identity


OwnWatch = Annotated[UUID, Depends(own_watch)]
Wanted = Annotated[dict[str, Any], Depends(wanted_watch)]


@router.post("", status_code=201, openapi_extra=document(WatchBody))
def make_watch(wanted: Wanted, caller: Analyst, held: ServicesDep) -> dict[str, Any]:
    """A new watch, which runs from now on; 409 when its name is taken."""
    anyio.from_thread.run(check_query, held, caller.tenant, wanted["query"])
    most, by = held.settings.watch_count_max, caller.subject
    with transaction(held.engine) as db:
        now = held.now(db)
        made = watches.make(db, caller.tenant, wanted, created_by=by, now=now, count_max=most)
        return shown(made, now)


@router.get("")
def list_watches(caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """Every watch by name, and the bounds."""
    settings = held.settings
    with transaction(held.engine) as db:
        now = held.now(db)
        rows = [shown(watch, now) for watch in watches.of_tenant(db, caller.tenant)]
    limits = {"watches_max": settings.watch_count_max, "series_max": settings.watch_series_max}
    return {"watches": rows, "limits": limits}


@router.get("/{id}")
def read_watch(
    text: Annotated[str, Path(alias="id")], caller: Reader, held: ServicesDep
) -> dict[str, Any]:
    """One watch."""
    with transaction(held.engine) as db:
        stored = watches.get(db, caller.tenant, identity_of(text, WatchNotFound))
        return shown(stored, held.now(db))


@router.put("/{id}", openapi_extra=document(WatchBody))  # noqa: FAST003  own_watch reads it
def change_watch(
    identity: OwnWatch, wanted: Wanted, caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The watch as it is from now on; with another query, step or parameters it learns anew."""
    anyio.from_thread.run(check_query, held, caller.tenant, wanted["query"])
    with transaction(held.engine) as db:
        now = held.now(db)
        return shown(watches.change(db, caller.tenant, identity, wanted, now), now)


@router.delete("/{id}", status_code=204)  # noqa: FAST003  own_watch reads it
def delete_watch(identity: OwnWatch, caller: Analyst, held: ServicesDep) -> Response:
    """The watch is gone; its events stay."""
    with transaction(held.engine) as db:
        watches.delete(db, caller.tenant, identity)
    return Response(status_code=204)


def shown(watch: Watch, now: datetime) -> dict[str, Any]:
    """A watch for people: `state` is learning, watching, late or stopped."""
    state = "watching"
    if not watch.enabled:
        state = "stopped"
    elif watch.next_ms is None or watch.live_ms is None or watch.next_ms < watch.live_ms:
        state = "learning"
    elif now.timestamp() * 1000 - watch.next_ms > 5 * watch.step_ms + 120_000:
        state = "late"
    return {
        "id": str(watch.id),
        **{name: getattr(watch, name) for name in SHOWN},
        "state": state,
        "judged_until_ms": watch.next_ms,
        "ran_at": instant(watch.ran_at),
        "created_at": instant(watch.created_at),
    }
