"""Tokens: those of callers, verified with ubs's public keys; those of this service, from ubs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final
from uuid import UUID

import jwt

from ..clock import Clock
from .billing import Billing
from .principal import IdentityUnavailable, Limits, Principal, Unauthenticated

JWKS_TTL_S: Final = 300.0
JWKS_REFETCH_S: Final = 5.0
TOKEN_LIFE_S_MAX: Final = 300
RENEWED_BEFORE_END_S: Final = 60.0


class Tokens:
    """JWTs for one audience, the service's code.

    is_revoked: whether a token of that principal, issued at that second, is revoked.
    """

    def __init__(
        self,
        billing: Billing,
        clock: Clock,
        audience: str,
        is_revoked: Callable[[Principal, float], Awaitable[bool]],
    ) -> None:
        self._billing = billing
        self._clock = clock
        self._audience = audience
        self._is_revoked = is_revoked
        self._jwks: dict[str, Any] = {}
        self._jwks_fetched_s = -JWKS_TTL_S
        self._jwks_lock = asyncio.Lock()
        self._issued: dict[tuple[UUID, str, tuple[str, ...]], tuple[str, float]] = {}

    async def verify(self, token: str) -> Principal:
        """The token's principal. Raises Unauthenticated or IdentityUnavailable."""
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            signing_key = await self._signing_key(key_id)
            claims = jwt.decode(
                token,
                signing_key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer="cloudopshub",
                leeway=10,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "org"]},
            )
            if claims["exp"] - claims["iat"] > TOKEN_LIFE_S_MAX:
                raise Unauthenticated(detail=f"the token lives over {TOKEN_LIFE_S_MAX} s")
            principal = Principal(
                tenant=UUID(claims["org"]),
                subject=str(claims["sub"]),
                role=claims.get("role"),
                scopes=frozenset(claims.get("scopes", ())),
                limits=Limits.from_json(claims.get("limits")),
                credential="token",
                credential_id=claims.get("sid"),
            )
        except jwt.ExpiredSignatureError as exc:
            raise Unauthenticated(detail="the token has expired") from exc
        except (jwt.PyJWTError, ValueError, KeyError, TypeError, OverflowError) as exc:
            raise Unauthenticated(detail=f"the token is not valid: {exc}") from exc
        if await self._is_revoked(principal, float(claims["iat"])):
            raise Unauthenticated(detail="the session has ended")
        return principal

    async def issue(self, tenant: UUID, audience: str, scopes: list[str]) -> str:
        """A token with which this service acts for `tenant` at another one.

        Kept until RENEWED_BEFORE_END_S before its end. Raises IdentityUnavailable.
        """
        wanted = (tenant, audience, tuple(sorted(scopes)))
        issued = self._issued.get(wanted)
        if issued is not None and issued[1] - RENEWED_BEFORE_END_S > self._clock.now_s():
            return issued[0]
        answer = await self._billing.ask(
            "POST",
            "/internal/token",
            json={
                "tenant": str(tenant),
                "audience": audience,
                "scopes": sorted(scopes),
                "service": self._audience,
            },
        )
        now_s = self._clock.now_s()
        self._issued = {key: issued for key, issued in self._issued.items() if issued[1] > now_s}
        token = str(answer["token"])
        self._issued[wanted] = (token, now_s + float(answer["expires_in_s"]))
        return token

    def forget(self, kind: str, ref: str) -> None:
        """Tokens to act for an organisation that was suspended are asked for again.

        Those made before stay refused when it works again.
        """
        if kind == "organisation":
            others = {key: issued for key, issued in self._issued.items() if str(key[0]) != ref}
            self._issued = others

    def keep_signing_keys(self, key_ids: Collection[str]) -> None:
        """Other keys than these verify nothing from here on, unless ubs publishes them again."""
        self._jwks = {key_id: key for key_id, key in self._jwks.items() if key_id in key_ids}

    async def _signing_key(self, key_id: str) -> Any:
        now_s = self._clock.now_s()
        age_s = now_s - self._jwks_fetched_s
        if age_s > JWKS_TTL_S or (key_id not in self._jwks and age_s > JWKS_REFETCH_S):
            async with self._jwks_lock:
                if self._jwks_fetched_s <= now_s - JWKS_REFETCH_S:
                    await self._fetch_jwks(key_id)
        if key_id not in self._jwks:
            raise Unauthenticated(detail="the token is signed with an unknown key")
        return self._jwks[key_id]

    async def _fetch_jwks(self, key_id: str) -> None:
        try:
            answer = await self._billing.ask("GET", "/.well-known/jwks.json")
        except IdentityUnavailable:
            if key_id in self._jwks:
                return  # the keys we have still verify what they signed
            raise
        keys = [jwt.PyJWK(key, algorithm="EdDSA") for key in answer["keys"]]
        self._jwks = {str(key.key_id): key.key for key in keys}
        self._jwks_fetched_s = self._clock.now_s()
