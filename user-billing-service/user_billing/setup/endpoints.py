"""The first start, and which organisations there are since."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import ClientDep, MetricStore, SameOrigin, ServicesDep, Sister
from user_billing.sessions.endpoints import SessionView, render

router = APIRouter()
PAGE = 500


class SetUpBody(Body):
    """The set-up form."""

    token: Unicode
    email: Unicode
    password: Unicode
    organisation: Unicode


class SetUpView(BaseModel):
    """Whether the installation waits for its owner."""

    needed: bool


@router.get("/internal/home-organisation", tags=["internal"], dependencies=[MetricStore])
def home_organisation(services: ServicesDep) -> dict[str, str | None]:
    """The organisation that the hub's own metrics belong to; null before the first start."""
    home = services.first_start.home_organisation()
    return {"tenant": None if home is None else str(home)}


@router.get("/internal/organisations", tags=["internal"], dependencies=[Sister])
def organisations(services: ServicesDep, after: UUID | None = None) -> dict[str, Any]:
    """A page of the organisations that work, oldest first; ask on after `next` until it is null."""
    rows = services.organisations.page(after, PAGE)
    working = [str(row["id"]) for row in rows if row["suspended_at"] is None]
    return {"tenants": working, "next": str(rows[-1]["id"]) if len(rows) == PAGE else None}


@router.get("/api/v1/setup", tags=["session"])
def read_setup(services: ServicesDep) -> SetUpView:
    """Whether the installation waits for its owner."""
    return SetUpView(needed=services.first_start.is_needed())


@router.post("/api/v1/setup", tags=["session"], status_code=201, dependencies=[SameOrigin])
def set_up(
    body: SetUpBody, response: Response, services: ServicesDep, client: ClientDep
) -> SessionView:
    """The owner and the name of the first organisation, by the one-time link."""
    opened = services.first_start.complete(**dict(body), client=client)
    return render(response, services.settings, opened)
