"""The bodies of organisations."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, computed_field

from user_billing.api.bodies import Body, Unicode
from user_billing.model import Organisation


class OrganisationBody(Body):
    """A further organisation."""

    name: Unicode


class OrganisationView(BaseModel):
    """An organisation."""

    id: UUID
    name: str
    slug: str

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """The view of an organisation."""
        return cls(id=organisation.id, name=organisation.name, slug=organisation.slug)


class SuspensionBody(Body):
    """Why an organisation is suspended; its people read it."""

    reason: Unicode


class OperatorOrganisationView(BaseModel):
    """An organisation as the operator sees it."""

    model_config = ConfigDict(from_attributes=True)

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
