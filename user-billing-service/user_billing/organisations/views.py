"""The bodies of organisations."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel

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
