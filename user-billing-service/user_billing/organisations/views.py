"""The bodies of organisations."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, computed_field

from user_billing.api.bodies import Body, Unicode


class OrganisationBody(Body):
    """A further organisation."""

    name: Unicode


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

    @computed_field  # type: ignore[prop-decorator]  # mypy: decorators on properties
    @property
    def state(self) -> str:
        """`active` or `suspended`."""
        return "active" if self.suspended_at is None else "suspended"


class OperatorOrganisationsView(BaseModel):
    """A page of organisations, oldest first; next: what to send as `after`, None at the end."""

    organisations: list[OperatorOrganisationView]
    next: UUID | None
