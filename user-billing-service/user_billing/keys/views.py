"""The bodies of API keys."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.keys.rules import OVERLAP_S
from user_billing.members.rules import display_name
from user_billing.model import ApiKey, Member


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


class KeyView(BaseModel):
    """A key without its secret."""

    id: UUID
    name: str
    start: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_by: str
    networks: list[str]
    requests_per_s: int | None
    replaced_by: UUID | None

    @classmethod
    def facts(cls, key: ApiKey, members: Iterable[Member]) -> dict[str, Any]:
        """The fields of the view of a key."""
        return {
            "id": key.id,
            "name": key.name,
            "start": key.start,
            "scopes": [scope.value for scope in key.scopes],
            "created_at": key.created_at,
            "last_used_at": key.last_used_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "created_by": display_name(key.created_by, members),
            "networks": list(key.networks),
            "requests_per_s": key.requests_per_s,
            "replaced_by": key.replaced_by,
        }


class NewKeyView(KeyView):
    """A key with its secret, once."""

    key: str


class KeysView(BaseModel):
    """The keys of the organisation, newest first."""

    keys: list[KeyView]
