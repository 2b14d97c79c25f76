"""The bodies of API keys."""

from uuid import UUID

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.keys.rules import OVERLAP_S
from user_billing.model import ApiKey


class KeyBody(Body):
    """A key to make; expires_in_days None: until revoked."""

    name: Unicode
    scopes: list[Unicode]
    expires_in_days: int | None = None
    networks: tuple[Unicode, ...] = ()
    """CIDRs that the key may be used from; none: everywhere."""
    requests_per_s: int | None = None
    """In each process of each service; None: no bound of its own."""
    service_account_id: UUID | None = None


class RotateBody(Body):
    """How long the old key goes on."""

    overlap_s: int = OVERLAP_S


class KeyChangesBody(Body):
    """What is to be different; what is left out stays."""

    name: Unicode | None = None
    networks: list[Unicode] | None = None
    requests_per_s: int | None = None


class IntrospectBody(Body):
    """The key a service was shown."""

    key: Unicode


class KeysView(BaseModel):
    """The keys of the organisation, newest first."""

    keys: list[ApiKey]
