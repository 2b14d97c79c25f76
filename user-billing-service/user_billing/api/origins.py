"""Whether an unsafe request comes from the dashboard's own page, and from which address. Pure.

Browsers tell where a request starts with `Sec-Fetch-Site` (trustworthy origins) or `Origin`; a page
of another site can set neither. Source: OWASP CSRF prevention, "Fetch Metadata" and "Verifying
origin with standard headers".
"""

import ipaddress
from collections.abc import Collection, Mapping
from typing import Literal
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Verdict = Literal["same", "cross", "unknown"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int] | None:
    """(scheme, host, port) of a URL or an Origin header; None when it has none (`null`)."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    try:
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def verdict(headers: Mapping[str, str], *, public_url: str) -> Verdict:
    """Where a browser says the request comes from; `unknown` when it says nothing.

    `Sec-Fetch-Site` decides when it is there. Else `Origin` must be the public URL's or name the
    very host that the request was sent to.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return "same" if site in {"same-origin", "none"} else "cross"
    text = headers.get("origin")
    if text is None:
        return "unknown"
    origin = origin_of(text)
    if origin is None:
        return "cross"
    if origin == origin_of(public_url):
        return "same"
    host = headers.get("host")
    return "same" if host and origin == origin_of(f"{origin[0]}://{host}") else "cross"


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
        if not _is_trusted(address, trusted):
            break
        address = entry
    return address


def _is_trusted(address: str, trusted: Collection[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return any(parsed in network for network in trusted)
