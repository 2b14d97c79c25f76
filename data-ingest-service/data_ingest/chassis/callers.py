"""Where a request really comes from, and how fast one caller may ask; the same in every service.

A client's address is its peer's, or what trusted proxies say in `X-Forwarded-For`. `RequestLog`
notes both for the request that is being served; they are read only for a key that needs them.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REQUEST: Final[ContextVar[Scope | None]] = ContextVar("request", default=None)
"""The ASGI scope of the request that is being served; None outside of one."""

CALLERS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose `X-Forwarded-For` counts, and how many proxies write it on the way here."""

    trusted: Collection[Network] = ()
    hops: int = 1

    def address(self, scope: Scope | None) -> str:
        """The address of the request's client; "" when there is none (a Unix socket)."""
        if scope is None:
            return ""
        written = [v.decode("latin-1") for n, v in scope["headers"] if n == b"x-forwarded-for"]
        peer = scope["client"][0] if scope.get("client") else ""
        return client_address(peer, ",".join(written), self.trusted, self.hops)


def client_address(
    peer: str, forwarded_for: str | None, trusted: Collection[Network], hops: int
) -> str:
    """The address a request really came from.

    Walks `X-Forwarded-For` from its end, where the nearest proxy wrote, and stops at the first
    address that is not a trusted proxy's, or after `hops` entries: as many proxies write one, and
    what stands before them the client may have written, be it an address of a trusted network or
    not. The header counts only when the peer itself is a trusted proxy.
    """
    written = [hop.strip() for hop in (forwarded_for or "").split(",") if hop.strip()]
    address = peer
    for entry in reversed(written[-hops:]):
        if not is_within(address, trusted):
            break
        address = entry
    return address


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks; text that is no address is in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return any(parsed in network for network in networks)


class Buckets:
    """Requests per second by caller, in this process alone; a second's worth may come at once."""

    def __init__(self) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, per_s: int, now_s: float) -> float:
        """0 and the request is counted, or the seconds until the next one may come."""
        level, at_s = self._levels.get(caller, (float(per_s), now_s))
        level = min(float(per_s), level + max(0.0, now_s - at_s) * per_s)
        wait_s = 0.0 if level >= 1 else (1 - level) / per_s
        self._levels[caller] = (level - 1 if level >= 1 else level, now_s)
        self._levels.move_to_end(caller)
        while len(self._levels) > CALLERS_MAX:
            self._levels.popitem(last=False)
        return wait_s
