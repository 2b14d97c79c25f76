"""How many attempts to log in are free, and how waiting grows after them. Pure.

Sources: NIST SP 800-63B-4 §3.2.2; docs/adr/0002-identity.md (the numbers chosen here).
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from user_billing.model import Throttled


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """How many failures are free, and how waiting grows after them.

    window_s: quiet time after which the count starts again. ceiling: failures after which the
    bucket closes for `ceiling_wait_s`.
    """

    free: int
    window_s: int
    wait_s_max: int
    ceiling: int
    ceiling_wait_s: int


PER_DEVICE = ThrottlePolicy(
    free=5, window_s=86_400, wait_s_max=900, ceiling=100, ceiling_wait_s=86_400
)
"""A browser that logged in to the account before; also one address at one account."""

PER_ACCOUNT = ThrottlePolicy(
    free=30, window_s=86_400, wait_s_max=900, ceiling=100, ceiling_wait_s=86_400
)
"""An account, from everywhere but those browsers."""

PER_ADDRESS = ThrottlePolicy(
    free=30, window_s=900, wait_s_max=900, ceiling=1_000, ceiling_wait_s=900
)

GLOBAL = ThrottlePolicy(free=1_000, window_s=60, wait_s_max=30, ceiling=100_000, ceiling_wait_s=30)


def wait_s(policy: ThrottlePolicy, failures: int) -> int:
    """Seconds a bucket stays closed after its `failures`-th failure in a row: 0, then 1, 2, 4, …"""
    if failures >= policy.ceiling:
        return policy.ceiling_wait_s
    if failures <= policy.free:
        return 0
    return min(policy.wait_s_max, 1 << min(failures - policy.free - 1, 30))


def after_attempt(policy: ThrottlePolicy, state: Throttled | None, now: datetime) -> Throttled:
    """The bucket after one more attempt, counted as a failure until it proves to be a success.

    Counting first means that parallel guesses cannot pass a closed door together.
    """
    quiet = state is None or (now - state.last_at).total_seconds() > policy.window_s
    failures = 1 if quiet or state is None else state.failures + 1
    pause = wait_s(policy, failures)
    return Throttled(failures, now, now + timedelta(seconds=pause) if pause else None)


def address_bucket(address: str) -> str:
    """The network an attempt is counted for: an IPv4 address, or the /64 of an IPv6 one.

    A single subscriber holds a whole /64, so anything narrower is no limit. Text that is no
    address (a Unix socket) is one bucket of its own.
    """
    return (network_of(address, 32, 64) or "unknown").removesuffix("/32")


def network_of(address: str, bits: int, bits_v6: int) -> str | None:
    """The network of that many leading bits; None for text that is no address.

    An IPv4 address inside IPv6 (`::ffff:192.0.2.7`) is the IPv4 address.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    width = bits if parsed.version == 4 else bits_v6
    return str(ipaddress.ip_network((parsed, width), strict=False))
