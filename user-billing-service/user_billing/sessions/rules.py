"""How long a session lives. Pure. Source: docs/adr/0002-identity.md."""

import ipaddress
from datetime import datetime, timedelta

SESSION_IDLE = timedelta(hours=24)

SESSION_ABSOLUTE = timedelta(days=30)

SEEN_RESOLUTION = timedelta(minutes=1)


def session_ends(created_at: datetime) -> datetime:
    """The instant at which a session ends whatever its use."""
    return created_at + SESSION_ABSOLUTE


def is_session_live(*, last_seen_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether a session is inside its idle and its absolute bound; both ends exclusive."""
    return now < expires_at and now - last_seen_at < SESSION_IDLE


def network(address: str) -> str | None:
    """The network of an address, coarse enough to be no person: /24, or /48 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
    ("Safari/", "Safari"), ("curl/", "curl"), ("python-", "Python"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"),
    ("Mac OS", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_words(user_agent: str) -> str:
    """The kind of browser and system: `Firefox on Linux`; never the header itself."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "another program")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    return browser if system is None else f"{browser} on {system}"
