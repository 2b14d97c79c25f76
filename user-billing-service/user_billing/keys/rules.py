"""Where and how often a key may be used, and how it is replaced. Pure."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from user_billing.errors import BadInput, NotAllowed

NETWORKS_MAX = 50
REQUESTS_PER_S_MAX = 100_000
EXPIRY_DAYS_MAX = 3_650
OVERLAP_S = 86_400
OVERLAP_S_MAX = 7 * 86_400


def parse_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """The networks as they are stored, each once; none: everywhere. Raises BadInput."""
    if len(texts) > NETWORKS_MAX:
        raise BadInput(field="networks", count=len(texts), max=NETWORKS_MAX)
    networks: dict[str, None] = {}
    for text in texts:
        try:
            networks[str(ipaddress.ip_network(text.strip()))] = None
        except ValueError as exc:
            raise BadInput(
                field="networks", value=text[:64], rule="CIDR, as 192.0.2.0/24 or 2001:db8::/32"
            ) from exc
    return tuple(networks)


def within_caller(networks: tuple[str, ...], of_caller: tuple[str, ...]) -> tuple[str, ...]:
    """The networks of a key whose maker is bound to some: no wider, and the maker's if none."""
    bounds = [ipaddress.ip_network(bound) for bound in of_caller]
    for text in networks if bounds else ():
        network = ipaddress.ip_network(text)
        if not any(
            network.version == bound.version and network.subnet_of(bound)  # type: ignore[arg-type]
            for bound in bounds
        ):
            raise NotAllowed(needs=f"a key that may be used in {text}")
    return networks or of_caller


def end_of_replaced(expires_at: datetime | None, now: datetime, overlap: timedelta) -> datetime:
    """When the old key dies: after the overlap, never later than it would have."""
    return now + overlap if expires_at is None else min(expires_at, now + overlap)


def end_of_new(created_at: datetime, expires_at: datetime | None, now: datetime) -> datetime | None:
    """When the new key ends: it lives as long as the old one was meant to."""
    return None if expires_at is None else now + (expires_at - created_at)
