"""A tenant's ways to the other services."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import httpx

from analysis_processing.chassis.identity import IdentityClient
from analysis_processing.clients.http import Door
from analysis_processing.settings import Settings


@dataclass(frozen=True, slots=True)
class Doors:
    """Doors that show a token of their tenant."""

    settings: Settings
    http: httpx.AsyncClient
    identity: IdentityClient

    @classmethod
    def of(cls, settings: Settings, http: httpx.AsyncClient) -> "Doors":
        """With tokens for this service itself, as background work needs them."""
        secret = settings.service_token.get_secret_value()
        return cls(settings, http, IdentityClient(settings.ubs_url, secret, "aps", http))

    def das(self, tenant: UUID) -> Door:
        """Where the tenant's metrics are read."""
        token = self._token(tenant, "das", "metrics:read")
        return Door("data-api-service", self.settings.das_url, self.http, token)

    def dis(self, tenant: UUID) -> Door:
        """Where the tenant's metrics are written."""
        token = self._token(tenant, "dis", "metrics:write")
        return Door("data-ingest-service", self.settings.dis_url, self.http, token)

    def _token(self, tenant: UUID, audience: str, scope: str) -> Callable[[], Awaitable[str]]:
        return lambda: self.identity.service_token_for(tenant, audience, [scope])
