"""Whether an unsafe request comes from the dashboard's own page. Pure.

Browsers tell where a request starts with `Sec-Fetch-Site` (trustworthy origins) or `Origin`; a page
of another site can set neither. Source: OWASP CSRF prevention, "Fetch Metadata" and "Verifying
origin with standard headers".
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

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
