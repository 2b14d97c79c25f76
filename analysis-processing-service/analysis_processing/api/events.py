"""The feed of events, and silences."""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from analysis_processing.api.deps import (
    Analyst,
    PostedJson,
    Reader,
    ServicesDep,
    cursor_of,
    identity_of,
    instant,
    place_of,
    validated,
)
from analysis_processing.errors import EventNotFound, InvalidJob, SilenceNotFound
from analysis_processing.jobs.database import transaction
from analysis_processing.watch import events

router = APIRouter(prefix="/api/v1", tags=["events"])
SILENCE_MAX = timedelta(days=30)
MATCHERS_MAX = 16
Text = Annotated[str | None, Query(max_length=200)]


class SilenceBody(BaseModel):
    """A silence: events whose labels, `watch` and `kind` among them, equal all of `matchers`."""

    model_config = ConfigDict(extra="forbid")

    matchers: dict[str, str] = Field(min_length=1, max_length=MATCHERS_MAX)
    until: AwareDatetime
    comment: str = Field("", max_length=1_000)


def wanted_silence(posted: PostedJson) -> SilenceBody:
    """The body of a silence; raises RequestValidationError, InvalidJob."""
    body = validated(SilenceBody, posted)
    texts = "".join((*body.matchers, *body.matchers.values(), body.comment))
    if "\x00" in texts or (not texts.isascii() and "\ud800" <= max(texts) <= "\udfff"):
        raise InvalidJob(detail="matchers or comment hold a NUL or half a character")
    return body


def place(cursor: Text = None) -> tuple[int, UUID] | None:
    """Where a page begins, from the `next` of the one before; raises InvalidPage."""
    if cursor is None:
        return None
    start_ms, identity = place_of(cursor, int, str)
    return start_ms, identity_of(identity, EventNotFound)


@router.get("/events")
def list_events(
    caller: Reader,
    held: ServicesDep,
    after: Annotated[tuple[int, UUID] | None, Depends(place)],
    *,
    state: Literal["open", "closed", "all"] = "all",
    kind: Text = None,
    watch: Text = None,
    since_ms: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    until_ms: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    q: Text = None,
    silenced: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Events, the newest first; `next` is the `cursor` of the next page, null at the end."""
    filters: dict[str, Any] = {"state": state, "kind": kind, "watch": watch, "q": q}
    filters |= {"silenced": silenced, "since_ms": since_ms, "until_ms": until_ms}
    if any("\x00" in value for value in (kind, watch, q) if value):
        raise InvalidJob(detail="a filter holds a NUL")
    with transaction(held.engine) as db:
        rows = events.feed(db, caller.tenant, filters, after=after, limit=limit, now=held.now(db))
    last = rows[-1] if len(rows) == limit else None
    more = last and cursor_of(last["start_ms"], str(last["id"]))
    return {"events": [shown(row) for row in rows], "next": more}


@router.post("/events/{id}/ack")
def acknowledge(
    text: Annotated[str, Path(alias="id")], caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """The event, acknowledged by the caller unless somebody did before."""
    identity = identity_of(text, EventNotFound)
    with transaction(held.engine) as db:
        return shown(events.acknowledge(db, caller.tenant, identity, caller.subject, held.now(db)))


@router.post("/silences", status_code=201)
def silence(
    body: Annotated[SilenceBody, Depends(wanted_silence)], caller: Analyst, held: ServicesDep
) -> dict[str, Any]:
    """A new silence, which holds for what is open already, too."""
    with transaction(held.engine) as db:
        now = held.now(db)
        if not now < body.until <= now + SILENCE_MAX:
            raise InvalidJob(detail=f"until must lie ahead, by at most {SILENCE_MAX.days} days")
        wanted = body.model_dump() | {"by": caller.subject}
        return shown_silence(events.silence(db, caller.tenant, wanted, now))


@router.get("/silences")
def list_silences(caller: Reader, held: ServicesDep) -> dict[str, Any]:
    """Silences that have not run out, the next to end first."""
    with transaction(held.engine) as db:
        rows = events.silences(db, caller.tenant, held.now(db))
    return {"silences": [shown_silence(row) for row in rows]}


@router.delete("/silences/{id}", status_code=204)
def end_silence(
    text: Annotated[str, Path(alias="id")], caller: Analyst, held: ServicesDep
) -> Response:
    """The silence is over."""
    identity = identity_of(text, SilenceNotFound)
    with transaction(held.engine) as db:
        events.end_silence(db, caller.tenant, identity, held.now(db))
    return Response(status_code=204)


def shown(row: RowMapping) -> dict[str, Any]:
    """An event for people; `end_ms` null while it lasts."""
    names = (
        "watch labels kind start_ms end_ms peak_ms size value expected lower upper direction text"
    )
    names += " acknowledged_by"
    return {
        **{name: str(row[name]) for name in ("id", "watch_id")},
        **{name: row[name] for name in names.split()},
        "because_of": row["because_of"] or [],
        **{name: instant(row[name]) for name in ("acknowledged_at", "silenced_until")},
    }


def shown_silence(row: RowMapping) -> dict[str, Any]:
    """A silence for people."""
    return {
        "id": str(row["id"]),
        **{name: row[name] for name in ("matchers", "comment", "created_by")},
        **{name: instant(row[name]) for name in ("created_at", "until")},
    }
