"""The client that routes ask; its parts know keys, tokens and revocations."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import httpx
from prometheus_client import Counter

from ..callers import Proxies
from ..clock import Clock
from ..kinds import ServiceError
from .billing import Billing
from .keys import ApiKeys
from .principal import Principal, Unauthenticated
from .revocations import Revocations
from .tokens import Tokens

CREDENTIAL_BYTES_MAX: Final = 4_096
KEY_HEADERS: Final = (
    "x-api-key",
    "X-API-Key",
    "x-amz-firehose-access-key",
    "X-Amz-Firehose-Access-Key",
)

OUTCOMES: Final = Counter(
    "cloudopshub_authentications_total",
    "Requests by how their credential was judged.",
    ["credential", "outcome"],
)
ACCEPTED: Final = {kind: OUTCOMES.labels(kind, "accepted") for kind in ("key", "token")}


class IdentityClient:
    """Authenticates requests for one service (`audience` is its code)."""

    def __init__(
        self,
        ubs_url: str,
        service_token: str,
        audience: str,
        http: httpx.AsyncClient,
        clock: Clock | None = None,
        *,
        proxies: Proxies | None = None,
    ) -> None:
        clock = clock or Clock()
        self._billing = Billing(ubs_url, service_token, http)
        self._keys = ApiKeys(
            self._billing, clock, lambda: self.revocations.seq, proxies or Proxies()
        )
        self._tokens = Tokens(self._billing, clock, audience, self._is_revoked)
        self.revocations = Revocations(
            self._billing, clock, self._forget, self._tokens.keep_signing_keys
        )
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Revocations are followed from here on."""
        self._follower = asyncio.create_task(self.revocations.follow(), name="revocations")

    async def close(self) -> None:
        """The follower has ended; the http client stays its owner's."""
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        await self.revocations.close()

    async def check(self) -> str:
        """A readiness check: ubs answered its health probe just now."""
        return await self._billing.check()

    async def authenticate(
        self, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> Principal:
        """The caller behind `headers` (any case-insensitive or lower-case mapping) and `query`.

        `query` is given only by the routes whose protocol carries a key there (Influx `p`).
        Raises Unauthenticated, Forbidden, TooManyRequests or IdentityUnavailable.
        """
        credential = credential_of(headers, query)
        if credential is None:
            OUTCOMES.labels("none", "missing").inc()
            raise Unauthenticated(detail="send an API key or a token")
        if len(credential) > CREDENTIAL_BYTES_MAX:
            OUTCOMES.labels("none", "malformed").inc()
            raise Unauthenticated(detail=f"it is longer than {CREDENTIAL_BYTES_MAX} bytes")
        kind = "token" if credential.count(".") == 2 else "key"
        try:
            verify = self._tokens.verify if kind == "token" else self._keys.verify
            principal = await verify(credential)
        except ServiceError as error:
            OUTCOMES.labels(kind, str(error.kind)).inc()
            raise
        ACCEPTED[kind].inc()
        return principal

    async def service_token_for(self, tenant: UUID, audience: str, scopes: list[str]) -> str:
        """A token with which this service acts for `tenant` at another one."""
        return await self._tokens.issue(tenant, audience, scopes)

    async def home_organisation(self) -> UUID | None:
        """The tenant that the hub's own metrics belong to; None before there is one."""
        tenant = (await self._billing.ask("GET", "/internal/home-organisation"))["tenant"]
        return None if tenant is None else UUID(tenant)

    def _forget(self, kind: str, ref: str) -> None:
        self._keys.forget(kind, ref)
        self._tokens.forget(kind, ref)

    async def _is_revoked(self, principal: Principal, issued_s: float) -> bool:
        await self.revocations.require_known()
        return self.revocations.covers(principal, issued_s)


def credential_of(headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> str | None:
    """The key or token in a request, wherever its protocol puts it; None when there is none."""
    authorization = headers.get("authorization") or headers.get("Authorization") or ""
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer" | "token":
            return rest.strip() or None
        case "basic":
            return _basic_password(rest.strip())
    for name in KEY_HEADERS:
        if value := headers.get(name):
            return value.strip()
    return (query or {}).get("p") or None


def _basic_password(encoded: str) -> str | None:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded.partition(":")[2] or None
