"""Who is asking: API keys and short-lived tokens turned into a `Principal`.

    headers ── API key ── cache ── POST ubs /internal/introspect ──┐
        │                   ▲                                      ├─▶ Principal
        └──── JWT ── JWKS ──┼── revoked sessions ──────────────────┘
                            └── GET ubs /internal/revocations, every 2 s

The tenant comes from the verified credential and from nowhere else. While ubs does not answer,
known keys live to their TTL and unknown ones are refused as `unavailable`, never as wrong.
Contract: docs/contracts.md §2.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

import httpx
import jwt
import structlog
from prometheus_client import Counter

from .kinds import Kind, ServiceError

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_SHAPE: Final = re.compile(r"coh_live_[0-9A-Za-z]{32}[0-9A-Za-z]{6}", re.ASCII)
KEYS_CACHED_MAX: Final = 20_000
REFUSALS_CACHED_MAX: Final = 5_000
REFUSAL_TTL_S: Final = 5.0
REVOCATIONS_POLL_S: Final = 2.0
SESSION_MEMORY_S: Final = 600.0
JWKS_TTL_S: Final = 300.0
JWKS_REFETCH_S: Final = 5.0
CREDENTIAL_BYTES_MAX: Final = 4_096
KEY_HEADERS: Final = (
    "x-api-key",
    "X-API-Key",
    "x-amz-firehose-access-key",
    "X-Amz-Firehose-Access-Key",
)

log = structlog.get_logger()
OUTCOMES: Final = Counter(
    "cloudopshub_authentications_total",
    "Requests by how their credential was judged.",
    ["credential", "outcome"],
)


class Unauthenticated(ServiceError):
    """No valid credential"""

    kind: ClassVar[Kind] = Kind.UNAUTHENTICATED


class Forbidden(ServiceError):
    """The credential does not allow this"""

    kind: ClassVar[Kind] = Kind.FORBIDDEN


class IdentityUnavailable(ServiceError):
    """The credential cannot be checked now, because user-billing-service does not answer"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tenant's plan allows; None = unlimited."""

    plan: str = "showback"
    samples_per_s: int | None = None
    burst_samples: int | None = None
    active_series: int | None = None
    retention_days: int | None = None
    query_samples: int | None = None
    query_concurrency: int | None = None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any] | None) -> "Limits":
        """The limits ubs sent; names it does not know yet are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in (answer or {}).items() if name in known})


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified caller of one request."""

    tenant: UUID
    subject: str
    role: str | None
    scopes: frozenset[str]
    limits: Limits
    credential: str
    credential_id: str | None

    def require(self, scope: str) -> None:
        """Passes when the caller holds `scope`; raises Forbidden naming it otherwise."""
        if scope not in self.scopes:
            raise Forbidden(detail=f"it lacks the scope {scope}")


@dataclass(slots=True)
class _KnownKey:
    principal: Principal
    valid_until_s: float


class IdentityClient:
    """Authenticates requests for one service (`audience` is its code)."""

    def __init__(
        self,
        ubs_url: str,
        service_token: str,
        audience: str,
        http: httpx.AsyncClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ubs_url = ubs_url.rstrip("/")
        self._service = {"Authorization": f"Bearer {service_token}"}
        self._audience = audience
        self._http = http
        self._clock = clock
        self._keys: OrderedDict[bytes, _KnownKey] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[Principal]] = {}
        self._jwks: dict[str, Any] = {}
        self._jwks_fetched_s = -JWKS_TTL_S
        self._jwks_lock = asyncio.Lock()
        self._revoked: dict[str, float] = {}
        self._revocation_seq: int | None = None
        self._tokens: dict[tuple[UUID, str, tuple[str, ...]], tuple[str, float]] = {}
        self._poller: asyncio.Task[None] | None = None
        self.answered_s: float | None = None

    async def start(self) -> None:
        """Revocations are followed from here on."""
        self._poller = asyncio.create_task(self._follow_revocations(), name="revocations")

    async def close(self) -> None:
        """The follower has ended; the http client stays its owner's."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller

    async def check(self) -> str:
        """A readiness check: ubs answered its health probe just now."""
        answer = await self._http.get(f"{self._ubs_url}/health", timeout=2.0)
        answer.raise_for_status()
        return "user-billing-service answers"

    async def authenticate(
        self, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> Principal:
        """The caller behind `headers` (any case-insensitive or lower-case mapping) and `query`.

        Raises Unauthenticated or IdentityUnavailable. `query` is given only by the routes whose
        protocol carries a key there (Influx `p`).
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
            judge = self._verify_token if kind == "token" else self._verify_key
            principal = await judge(credential)
        except ServiceError as error:
            OUTCOMES.labels(kind, str(error.kind)).inc()
            raise
        OUTCOMES.labels(kind, "accepted").inc()
        return principal

    async def service_token_for(self, tenant: UUID, audience: str, scopes: list[str]) -> str:
        """A token with which this service acts for `tenant` at another one.

        Kept until 60 s before its end.
        """
        wanted = (tenant, audience, tuple(sorted(scopes)))
        kept = self._tokens.get(wanted)
        if kept is not None and kept[1] - 60 > self._clock():
            return kept[0]
        answer = await self._ask(
            "POST",
            "/internal/token",
            json={
                "tenant": str(tenant),
                "audience": audience,
                "scopes": sorted(scopes),
                "service": self._audience,
            },
        )
        now_s = self._clock()
        self._tokens = {key: kept for key, kept in self._tokens.items() if kept[1] > now_s}
        token = str(answer["token"])
        self._tokens[wanted] = (token, now_s + float(answer["expires_in_s"]))
        return token

    async def home_organisation(self) -> UUID | None:
        """The tenant that the hub's own metrics belong to; None before there is one."""
        tenant = (await self._ask("GET", "/internal/home-organisation"))["tenant"]
        return None if tenant is None else UUID(tenant)

    async def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(
                method, self._ubs_url + path, headers=self._service, timeout=5.0, **request
            )
            answer.raise_for_status()
            body: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise IdentityUnavailable(detail=type(exc).__name__, retry_after_s=1) from exc
        self.answered_s = self._clock()
        return body

    # -- API keys ---------------------------------------------------------------------------

    async def _verify_key(self, key: str) -> Principal:
        if not is_well_formed_key(key):
            raise Unauthenticated(detail="it is not an API key of this hub")
        digest = hashlib.sha256(key.encode()).digest()
        now_s = self._clock()
        known = self._keys.get(digest)
        if known is not None and known.valid_until_s > now_s:
            self._keys.move_to_end(digest)
            return known.principal
        refused = self._refused.get(digest)
        if refused is not None and refused[1] > now_s:
            raise Unauthenticated(detail=f"the API key is {refused[0]}")
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._introspect(key, digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(asking)

    async def _introspect(self, key: str, digest: bytes) -> Principal:
        seq = self._revocation_seq
        answer = await self._ask("POST", "/internal/introspect", json={"key": key})
        now_s = self._clock()
        if not answer["active"]:
            self._keys.pop(digest, None)
            self._refused[digest] = (str(answer["reason"]), now_s + REFUSAL_TTL_S)
            while len(self._refused) > REFUSALS_CACHED_MAX:
                self._refused.popitem(last=False)
            raise Unauthenticated(detail=f"the API key is {answer['reason']}")
        principal = Principal(
            tenant=UUID(answer["tenant"]),
            subject=f"key:{answer['key_id']}",
            role=None,
            scopes=frozenset(answer["scopes"]),
            limits=Limits.from_json(answer.get("limits")),
            credential="key",
            credential_id=str(answer["key_id"]),
        )
        # A revocation that arrived while ubs was answering may be newer than the answer.
        if seq == self._revocation_seq:
            self._keys[digest] = _KnownKey(principal, now_s + float(answer["ttl_s"]))
            while len(self._keys) > KEYS_CACHED_MAX:
                self._keys.popitem(last=False)
        return principal

    # -- tokens -----------------------------------------------------------------------------

    async def _verify_token(self, token: str) -> Principal:
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
            session = claims.get("sid")
            principal = Principal(
                tenant=UUID(claims["org"]),
                subject=str(claims["sub"]),
                role=claims.get("role"),
                scopes=frozenset(claims.get("scopes", ())),
                limits=Limits.from_json(claims.get("limits")),
                credential="token",
                credential_id=session,
            )
        except jwt.ExpiredSignatureError as exc:
            raise Unauthenticated(detail="the token has expired") from exc
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as exc:
            raise Unauthenticated(detail=f"the token is not valid: {exc}") from exc
        if self._is_revoked(principal, float(claims["iat"])):
            raise Unauthenticated(detail="the session has ended")
        return principal

    def _is_revoked(self, principal: Principal, issued_s: float) -> bool:
        """A session never comes back; a user or organisation does, with tokens issued later."""
        if f"session:{principal.credential_id}" in self._revoked:
            return True
        owners = (f"user:{principal.subject}", f"organisation:{principal.tenant}")
        return any(self._revoked.get(ref, -1.0) >= issued_s for ref in owners)

    async def _signing_key(self, key_id: str) -> Any:
        now_s = self._clock()
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
            answer = await self._ask("GET", "/.well-known/jwks.json")
        except IdentityUnavailable:
            if key_id in self._jwks:
                return  # the keys we have still verify what they signed
            raise
        keys = [jwt.PyJWK(key, algorithm="EdDSA") for key in answer["keys"]]
        self._jwks = {str(key.key_id): key.key for key in keys}
        self._jwks_fetched_s = self._clock()

    # -- revocations ------------------------------------------------------------------------

    async def _follow_revocations(self) -> None:
        while True:
            try:
                more = await self._read_revocations()
            except ServiceError as error:
                log.warning("revocations_unread", reason=str(error))
                more = False
            except Exception:
                log.exception("revocations_unread")
                more = False
            if not more:
                await asyncio.sleep(REVOCATIONS_POLL_S)

    async def _read_revocations(self) -> bool:
        """Applies what was revoked since the last call; True while there is more to read."""
        after = self._revocation_seq
        query = {} if after is None else {"after": str(after)}
        answer = await self._ask("GET", "/internal/revocations", params=query)
        now_s = self._clock()
        for revocation in answer["revocations"]:
            kind, ref = str(revocation["kind"]), str(revocation["ref"])
            self._forget_keys(kind, ref)
            if kind != "key":
                at_s = datetime.fromisoformat(revocation["at"]).timestamp()
                self._revoked[f"{kind}:{ref}"] = at_s
        self._revoked = {
            ref: at_s for ref, at_s in self._revoked.items() if at_s > now_s - SESSION_MEMORY_S
        }
        if after is None:  # a key cached before the first answer may have been revoked unseen
            self._keys.clear()
        self._revocation_seq = int(answer["seq"])
        return len(answer["revocations"]) >= 1000

    def _forget_keys(self, kind: str, ref: str) -> None:
        if kind not in {"key", "organisation"}:
            return
        gone = [
            digest
            for digest, known in self._keys.items()
            if ref in (known.principal.credential_id, str(known.principal.tenant))
        ]
        for digest in gone:
            del self._keys[digest]


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


def is_well_formed_key(key: str) -> bool:
    """Whether `key` has the shape of an API key and its checksum is right; asks nobody."""
    if not KEY_SHAPE.fullmatch(key):
        return False
    return key[-6:] == checksum(key[:-6])


def checksum(text: str) -> str:
    """The CRC32 of `text` in six base62 characters, most significant first."""
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = BASE62[digit] + digits
    return digits
