"""API keys: their shape, and a cache of what ubs says of them."""

import asyncio
import hashlib
import ipaddress
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ..callers import REQUEST, Buckets, Network, Proxies, is_within
from ..clock import Clock
from .billing import Billing
from .principal import Forbidden, Limits, Principal, TooManyRequests, Unauthenticated

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_SHAPE: Final = re.compile(r"coh_live_[0-9A-Za-z]{32}[0-9A-Za-z]{6}", re.ASCII)
CACHED_MAX: Final = 20_000
REFUSALS_CACHED_MAX: Final = 5_000
REFUSAL_TTL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Accepted:
    principal: Principal
    valid_until_s: float
    networks: tuple[Network, ...]
    requests_per_s: int | None


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: str
    valid_until_s: float


class ApiKeys:
    """Keys by their digest; each is asked for once, however many requests carry it.

    revocation_seq: the number of the newest revocation that was read. proxies: whom to believe
    about the address of a client, which a key's networks may not allow.
    """

    def __init__(
        self,
        billing: Billing,
        clock: Clock,
        revocation_seq: Callable[[], int | None],
        proxies: Proxies,
    ) -> None:
        self._billing = billing
        self._clock = clock
        self._revocation_seq = revocation_seq
        self._proxies = proxies
        self._buckets = Buckets()
        self._accepted: OrderedDict[bytes, _Accepted] = OrderedDict()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[_Accepted]] = {}

    async def verify(self, key: str) -> Principal:
        """The key's principal. Raises Unauthenticated or IdentityUnavailable; Forbidden outside of
        the key's networks, TooManyRequests above its rate in this process.
        """
        digest = hashlib.sha256(key.encode(errors="replace")).digest()
        now_s = self._clock.now_s()
        accepted = self._accepted.get(digest)
        if accepted is not None and accepted.valid_until_s > now_s:
            self._accepted.move_to_end(digest)
            return self._admitted(accepted, now_s)
        if not is_well_formed_key(key):
            raise Unauthenticated(detail="it is not an API key of this hub")
        refused = self._refused.get(digest)
        if refused is not None and refused.valid_until_s > now_s:
            raise Unauthenticated(detail=f"the API key is {refused.reason}")
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._introspect(key, digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        return self._admitted(await asyncio.shield(asking), now_s)

    def _admitted(self, accepted: _Accepted, now_s: float) -> Principal:
        """The principal, for a request from where and as often as its key may be used."""
        principal = accepted.principal
        if accepted.networks:
            address = self._proxies.address(REQUEST.get())
            if not is_within(address, accepted.networks):
                raise Forbidden(detail=f"this API key may not be used from {address or 'here'}")
        if accepted.requests_per_s is not None:
            caller = principal.subject
            wait_s = self._buckets.wait_s(caller, accepted.requests_per_s, now_s)
            if wait_s > 0:
                raise TooManyRequests(per_s=accepted.requests_per_s, retry_after_s=wait_s)
        return principal

    def forget(self, kind: str, ref: str) -> None:
        """Keys that the revocation of `ref` ends are asked for again; `all` are for kind "all"."""
        if kind == "all":
            self._accepted.clear()
        elif kind in {"key", "organisation"}:
            for digest, accepted in list(self._accepted.items()):
                if ref in (accepted.principal.credential_id, str(accepted.principal.tenant)):
                    del self._accepted[digest]

    async def _introspect(self, key: str, digest: bytes) -> _Accepted:
        seq = self._revocation_seq()
        answer = await self._billing.ask("POST", "/internal/introspect", json={"key": key})
        now_s = self._clock.now_s()
        if not answer["active"]:
            self._accepted.pop(digest, None)
            self._refused[digest] = _Refused(str(answer["reason"]), now_s + REFUSAL_TTL_S)
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
        ends_s = now_s + float(answer["ttl_s"])
        if answer.get("expires_at") is not None:
            ends_s = min(ends_s, datetime.fromisoformat(answer["expires_at"]).timestamp())
        accepted = _Accepted(
            principal,
            ends_s,
            tuple(ipaddress.ip_network(text) for text in answer.get("networks", ())),
            answer.get("requests_per_s"),
        )
        # A revocation that arrived while ubs was answering may be newer than the answer.
        if seq == self._revocation_seq():
            self._accepted[digest] = accepted
            while len(self._accepted) > CACHED_MAX:
                self._accepted.popitem(last=False)
        return accepted


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
