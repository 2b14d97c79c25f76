"""All organisations, for the operator of the hub."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import Operator, ServicesDep

router = APIRouter(prefix="/api/v1/operator/organisations", tags=["operator"])


class SuspensionBody(Body):
    """Why an organisation is suspended; its people read it."""

    reason: Unicode


class OperatorOrganisationView(BaseModel):
    """An organisation as the operator sees it."""

    id: UUID
    name: str
    plan: str
    created_at: datetime
    members: int
    suspended_at: datetime | None
    suspended_reason: str | None
    state: Literal["active", "suspended"]


class OperatorOrganisationsView(BaseModel):
    """A page of organisations, oldest first; next: what to send as `after`, None at the end."""

    organisations: list[OperatorOrganisationView]
    next: UUID | None


@router.get("")
def list_organisations(
    _operator: Operator,
    services: ServicesDep,
    after: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> OperatorOrganisationsView:
    """Every organisation, oldest first, a page at a time."""
    rows = services.organisations.page(after, limit)
    return OperatorOrganisationsView(
        organisations=[OperatorOrganisationView(**row) for row in rows],
        next=rows[-1]["id"] if len(rows) == limit else None,
    )


@router.post("/{organisation_id}/suspend", status_code=204)
def suspend(
    organisation_id: UUID, body: SuspensionBody, operator: Operator, services: ServicesDep
) -> None:
    """Its keys and tokens are refused everywhere within 5 s; its people may read what it owes."""
    services.organisations.suspend(operator, organisation_id, body.reason)


@router.post("/{organisation_id}/resume", status_code=204)
def resume(organisation_id: UUID, operator: Operator, services: ServicesDep) -> None:
    """It works again, with the keys and sessions it had."""
    services.organisations.resume(operator, organisation_id)
