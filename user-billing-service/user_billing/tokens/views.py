"""The bodies of tokens."""

from uuid import UUID

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode


class TokenBody(Body):
    """The service a token is for."""

    audience: Unicode


class ServiceTokenBody(Body):
    """A token for a service that acts for a tenant."""

    tenant: UUID
    audience: Unicode
    scopes: list[Unicode]
    service: Unicode


class TokenView(BaseModel):
    """An access token."""

    token: str
    expires_in_s: int
